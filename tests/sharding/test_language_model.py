"""Texts by a language model behind a server: good answers, refused ones, failures on the way."""

import json
import time
from http.server import BaseHTTPRequestHandler

import pytest
from rdkit import Chem

from sharding.errors import UserError
from sharding.text.language_model import TextWriter, check
from sharding.text.language_model import endpoint as endpoint_module
from sharding.text.validate import FIELDS
from tests.sharding.language_server import (
    MOLECULES,
    Reply,
    asked_of,
    configured,
    expected,
    good,
    reset,
    says,
    says_of_each,
    server,
    stand_ins,
    write,
)

__all__ = ["server"]  # fixtures


def test_texts_come_in_order_and_the_second_run_asks_nothing(server, tmp_path):
    config = configured(server)
    check(config)
    assert write(config, tmp_path) == (expected(), {"written": 5})
    asked = len(server.bodies)
    assert asked == 5
    assert write(config, tmp_path) == (expected(), {"from_cache": 5})
    assert len(server.bodies) == asked
    assert write(config, tmp_path, MOLECULES[::-1]) == (expected()[::-1], {"from_cache": 5})


def test_what_is_sent(server, tmp_path):
    write(configured(server, max_new_tokens=99), tmp_path, ["CCO", "CCO"])
    (body,) = server.bodies  # a molecule given twice is asked for once
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny-mistral", 99, 0.0)
    assert body["response_format"]["json_schema"]["schema"]["required"] == list(FIELDS)
    assert isinstance(body["seed"], int)
    prompt = body["messages"][0]["content"]
    assert "CCO" in prompt and stand_ins(["CCO"])[0] in prompt
    assert all(name in prompt for name in FIELDS)


def test_requests_go_out_batch_at_a_time(server, tmp_path):
    def slowly(body, nth):
        time.sleep(0.1)
        return good(body)

    server.script = slowly
    smiles = ["C" * n + "O" for n in range(1, 13)]
    assert write(configured(server, batch=4), tmp_path, smiles)[1] == {"written": 12}
    assert 2 <= server.most_at_once <= 4


def test_plain_strings_may_stand_for_descriptions(server, tmp_path):
    server.script = lambda body, nth: says("no")(body)
    writer = TextWriter(configured(server, retries=0), tmp_path)
    texts, counts = writer.write([Chem.MolFromSmiles("CCO")], ["CCO"], ["An alcohol."])
    assert (texts, counts) == (["An alcohol."], {"fallback.not_json": 1})


REFUSED = {
    "prose only": (says("I cannot help with that."), "not_json"),
    "an empty string": (says(""), "not_json"),
    "truncated": (says_of_each(lambda fields: json.dumps(fields)[:-40]), "not_json"),
    "a list": (says("[1, 2]"), "not_json"),
    "an extra key": (says_of_each(lambda fields: fields | {"logp": "high"}), "wrong_keys"),
    "a missing key": (says_of_each(lambda fields: {"core_scaffold": fields["core_scaffold"]}), "wrong_keys"),
    "a key twice": (
        says_of_each(lambda fields: '{"core_scaffold": "x",' + json.dumps(fields)[1:]),
        "wrong_keys",
    ),
    "a list for a sentence": (
        says_of_each(lambda fields: fields | {"functional_groups": ["alcohol"]}),
        "not_text",
    ),
    "a number": (
        says_of_each(lambda fields: fields | {"physicochemical_profile": "Weighs 350 Da."}),
        "invented_number",
    ),
    "a banned word": (
        says_of_each(lambda fields: fields | {"physicochemical_profile": "Small and toxic."}),
        "banned_word",
    ),
    "an absent group": (
        says_of_each(lambda fields: fields | {"functional_groups": "It bears one sulfone."}),
        "absent_group",
    ),
    "an absent ring": (
        says_of_each(lambda fields: fields | {"core_scaffold": "An acridine."}),
        "absent_ring",
    ),
    "a wrong count": (
        says_of_each(lambda fields: fields | {"physicochemical_profile": "Seventy rotatable bonds."}),
        "wrong_count",
    ),
    "a surrogate": (
        says_of_each(lambda fields: json.dumps(fields).replace("That", "\\ud800")),
        "unprintable",
    ),
    "braces without end": (says("{" * 20_000), "not_json"),
    "deep nesting": (says('{"a":' * 5_000), "not_json"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_answers_fall_back_and_stay_refused(server, tmp_path, case):
    reply, reason = REFUSED[case]
    server.script = lambda body, nth: reply(body)
    once = write(configured(server), tmp_path)
    assert once == (stand_ins(), {f"fallback.{reason}": 5})
    assert len(server.bodies) == 10  # each asked twice: retries=1
    server.script = lambda body, nth: good(body)
    assert write(configured(server), tmp_path) == once  # the same bytes, and no request
    assert len(server.bodies) == 10


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_answer_is_asked_for_again_hotter_and_with_another_seed(server, tmp_path, case):
    reply, _ = REFUSED[case]
    server.script = lambda body, nth: good(body) if nth else reply(body)
    assert write(configured(server), tmp_path, MOLECULES[1:3]) == (expected(MOLECULES[1:3]), {"written": 2})
    by_molecule: dict[str, list[dict]] = {}
    for body in server.bodies:
        by_molecule.setdefault(asked_of(body), []).append(body)
    for first, second in by_molecule.values():
        assert first["temperature"] < second["temperature"]
        assert first["seed"] != second["seed"]


@pytest.mark.parametrize(
    "around",
    ["{}", "```json\n{}\n```", "Sure! Here it is:\n{}\nLet me know.", 'I use {{braces}} and {{"a": 1}}. {}'],
)
def test_fences_and_prose_are_no_harm(server, tmp_path, around):
    server.script = lambda body, nth: says_of_each(lambda fields: around.format(json.dumps(fields)))(body)
    assert write(configured(server), tmp_path) == (expected(), {"written": 5})


def sleep_long(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.0)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Never silent for long enough to time out by itself; the sum is what counts."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(30):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


FAILING = {
    "slow": (lambda body: Reply(act=sleep_long), "timeout"),
    "dripping": (lambda body: Reply(act=drip), "timeout"),
    "500": (lambda body: Reply(500, b"oops", "text/plain"), "endpoint_error"),
    "503": (lambda body: Reply(503, b"later", "text/plain"), "endpoint_error"),
    "429": (lambda body: Reply(429, {"error": "slow down"}), "rate_limited"),
    "reset": (lambda body: Reply(act=reset), "endpoint_error"),
    "html": (lambda body: Reply(200, b"<html>captive portal</html>", "text/html"), "bad_response"),
    "no choices": (lambda body: Reply(200, {"choices": []}), "bad_response"),
    "no content": (says(None), "bad_response"),
    "half a body": (lambda body: Reply(200, b'{"choices": [{"mess'), "bad_response"),
    "redirect": (
        lambda body: Reply(302, b"", headers=[("Location", "http://127.0.0.1:1/")]),
        "endpoint_error",
    ),
    "huge": (lambda body: Reply(200, b" " * (endpoint_module.MAX_BYTES + 1)), "too_large"),
    "refuses all forms": (lambda body: Reply(400, {"error": "too long"}), "bad_request"),
}


@pytest.mark.parametrize("case", FAILING)
def test_failures_fall_back_and_are_mended_by_a_rerun(server, tmp_path, case):
    reply, reason = FAILING[case]
    server.script = lambda body, nth: reply(body)
    config = configured(server, timeout_s=0.4)
    assert write(config, tmp_path) == (stand_ins(), {f"fallback.{reason}": 5})
    server.script = lambda body, nth: good(body)
    assert write(configured(server), tmp_path) == (expected(), {"written": 5})


@pytest.mark.parametrize("case", FAILING)
def test_failures_are_tried_again(server, tmp_path, case):
    reply, _ = FAILING[case]
    sent = 3 if case == "refuses all forms" else 1  # one for each form of asking for JSON
    server.script = lambda body, nth: good(body) if nth >= sent else reply(body)
    assert write(configured(server, timeout_s=0.4), tmp_path) == (expected(), {"written": 5})


def test_a_server_that_asks_to_wait_is_given_time(server, tmp_path):
    server.script = lambda body, nth: good(body) if nth else Reply(429, {}, headers=[("Retry-After", "1")])
    begun = time.monotonic()
    assert write(configured(server), tmp_path, ["CCO"])[1] == {"written": 1}
    assert time.monotonic() - begun >= 1


def test_a_server_without_json_schema_is_asked_another_way(server, tmp_path):
    def picky(body, nth):
        return Reply(422, {}) if "response_format" in body or "seed" in body else good(body)

    server.script = picky
    assert write(configured(server, batch=1), tmp_path) == (expected(), {"written": 5})
    assert len(server.bodies) == 5 + 2  # what it does not know is learnt once


def test_some_fail_and_the_others_do_not_wait_for_them(server, tmp_path):
    server.script = lambda body, nth: Reply(500, b"") if asked_of(body) == "CCO" else good(body)
    texts, counts = write(configured(server), tmp_path)
    assert counts == {"written": 4, "fallback.endpoint_error": 1}
    assert texts == [stand_ins()[0], *expected()[1:]]


def test_a_server_that_dies_stops_the_job_and_keeps_what_is_done(server, tmp_path):
    smiles = ["C" * n + "O" for n in range(1, 41)]
    answered = set()

    def dying(body, nth):
        if len(answered) < 8:
            answered.add(asked_of(body))
            return good(body)
        return Reply(act=reset)

    server.script = dying
    with pytest.raises(UserError, match="has stopped answering"):
        write(configured(server, retries=0, batch=2), tmp_path, smiles)
    server.script = lambda body, nth: good(body)
    texts, counts = write(configured(server, retries=0, batch=2), tmp_path, smiles)
    assert counts["from_cache"] >= 7 and counts["from_cache"] + counts["written"] == 40
    assert texts == expected(smiles)
