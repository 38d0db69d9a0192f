"""A model in a folder, tiny and random: padding, seeds, identity, incomplete folders."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sharding.config import LanguageModelConfig
from sharding.errors import UserError
from sharding.text.language_model import check, identity
from sharding.text.language_model.prompt import conversation
from tests.sharding.language_server import MOLECULES, ROOT, folder, local, segments, stand_ins, text_of, write

__all__ = ["folder"]  # fixtures


def test_a_random_model_writes_no_json_and_the_describer_stands_in(folder, tmp_path):
    config = local(folder)
    check(config)
    once = write(config, tmp_path)
    assert once == (stand_ins(), {"fallback.not_json": 5})
    assert write(config, tmp_path) == once
    lines = [line for path in segments(tmp_path) for line in path.read_text().splitlines()]
    assert len(lines) == 5  # refusals are kept: the second writer asked for nothing


def answers(config: LanguageModelConfig, smiles: list[str], attempt: int = 0) -> list[str]:
    from sharding.text.language_model.answers import Question
    from sharding.text.language_model.local import LocalModel

    questions = [Question(str(n), conversation(line, text_of(line))) for n, line in enumerate(smiles)]
    found = {question.key: answer for question, answer in LocalModel(config).answers(questions, attempt)}
    return [found[str(n)] for n in range(len(smiles))]


def test_padding_changes_no_answer(folder):
    """Long and short prompts in one batch: on the left, under the mask, padding is not read."""
    together = answers(local(folder, batch=5), MOLECULES)
    assert together == answers(local(folder, batch=1), MOLECULES)
    assert len(set(together)) > 1


def test_sampling_repeats_itself_and_attempts_differ(folder):
    hot = local(folder, temperature=1.0)
    assert answers(hot, MOLECULES) == answers(hot, MOLECULES)
    assert answers(hot, MOLECULES, attempt=1) != answers(hot, MOLECULES, attempt=2)
    assert answers(local(folder), MOLECULES) != answers(local(folder), MOLECULES, attempt=1)


def test_the_chat_template_is_used_where_there_is_one(folder, tmp_path):
    from sharding.text.language_model.answers import Question
    from sharding.text.language_model.local import _prompt, _tokenizer

    question = Question("0", conversation("CCO", "An alcohol."))
    tokenizer = _tokenizer(str(folder))
    assert _prompt(tokenizer, question).startswith("<s>You are")
    tokenizer.chat_template = "{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]"
    tokenizer.save_pretrained(tmp_path)
    assert _prompt(_tokenizer(str(tmp_path)), question).startswith("<s>[INST] You are")
    assert tokenizer.padding_side == "left"


def test_a_prompt_beyond_the_model_is_not_cut_but_told(folder, tmp_path):
    texts, counts = write(local(folder, max_new_tokens=2000), tmp_path, ["CCO"])
    assert (texts, counts) == (stand_ins(["CCO"]), {"fallback.prompt_too_long": 1})


def copied(folder: Path, target: Path, leave_out: str = "") -> Path:
    target.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name != leave_out:
            (target / path.name).write_bytes(path.read_bytes())
    return target


def test_the_identity_follows_the_weights_and_not_the_place(folder, tmp_path):
    def hashed(path: Path) -> str:
        return identity(local(path))["model_sha256"]

    assert hashed(copied(folder, tmp_path / "copy")) == hashed(folder)
    changed = copied(folder, tmp_path / "changed") / "model.safetensors"
    data = bytearray(changed.read_bytes())
    data[-100] ^= 1
    changed.write_bytes(data)
    assert hashed(changed.parent) != hashed(folder)
    reworded = copied(folder, tmp_path / "reworded")
    (reworded / "chat_template.jinja").write_text("{{ messages }}")
    assert hashed(reworded) != hashed(folder)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_stops_at_the_start(folder, tmp_path, missing):
    with pytest.raises(UserError, match="Expected a folder") as caught:
        check(local(copied(folder, tmp_path / "cut", leave_out=missing)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "not json",
        '{"model_type": "bert", "architectures": ["BertForMaskedLM"]}',
        '{"model_type": "nonsense"}',
    ],
)
def test_a_folder_of_something_else_stops_at_the_start(folder, tmp_path, content):
    wrong = copied(folder, tmp_path / "wrong")
    (wrong / "config.json").write_text(content)
    with pytest.raises(UserError, match="Expected a folder"):
        check(local(wrong))


def test_a_folder_that_is_none_stops_at_the_start(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        check(local(tmp_path / "mistralai" / "Mistral-7B-Instruct-v0.3"))


def test_nothing_heavy_is_imported_for_the_module():
    program = (
        "import sys, sharding.text.language_model, sharding.text.validate;"
        "print([name for name in ('torch', 'transformers', 'httpx') if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
