"""An answer is read or refused, whatever it is."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharding.text.language_model.prompt import Refused, extract
from sharding.text.validate import FIELDS

SENTENCES = st.fixed_dictionaries({name: st.text(max_size=80) for name in FIELDS})


@given(SENTENCES, st.text(alphabet='ab \n`.:[]}"', max_size=40), st.text(max_size=40), st.booleans())
@settings(deadline=None)
def test_an_object_is_found_whatever_surrounds_it(fields, before, after, pretty):
    written = json.dumps(fields, indent=2 if pretty else None)
    assert extract(f"{before}{written}{after}") == fields


@given(SENTENCES, st.integers(1, 400))
@settings(deadline=None)
def test_a_cut_object_is_no_object(fields, cut):
    written = json.dumps(fields)
    with pytest.raises(Refused):
        extract(written[: max(0, len(written) - cut)])


@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "scaffold", "Core_Scaffold"]),
        st.one_of(
            st.text(max_size=9), st.integers(), st.none(), st.dictionaries(st.sampled_from(FIELDS), st.text())
        ),
    )
)
@settings(deadline=None)
def test_keys_are_exact(value):
    written = json.dumps(value)
    if set(value) == set(FIELDS):
        assert extract(written).keys() == value.keys()
    else:
        with pytest.raises(Refused, match="wrong_keys"):
            extract(written)


@given(st.text(alphabet='{}[]":, \\ntruefals0', max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_answer_is_read_or_refused(answer):
    with pytest.raises(Refused):
        extract(answer)
