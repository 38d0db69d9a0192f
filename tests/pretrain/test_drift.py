"""A run folder is used by one configuration: what may change, what needs to be asked for, what cannot be."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launch.entry import options
from pretrain.config import PretrainConfig, Resume
from pretrain.drift import CLASSES, Drift, check_folder, differences, note_changes
from sharding.errors import UserError


@pytest.fixture
def config(tmp_path):
    """Of a run that has begun in its folder."""
    begun = PretrainConfig(data="shards", run=str(tmp_path / "run"))
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(begun)))
    return begun


NAMES = [option.name for option in options(PretrainConfig)]


def changed(config, name):
    """The configuration with another value of one option, of its type."""
    tree = OmegaConf.structured(config)
    old = OmegaConf.select(tree, name)
    if name.endswith("_heads"):
        new = old * 2
    elif hasattr(type(old), "__members__"):
        new = next(member for member in type(old) if member not in (old, Resume.never))
    elif isinstance(old, bool):
        new = not old
    elif isinstance(old, str):
        new = old + "x"
    else:
        new = old * 2 if old else 1
    OmegaConf.update(tree, name, new)
    return OmegaConf.to_object(tree)


def test_every_option_has_one_class():
    """An option that is new must be given one."""
    counts = Counter(name for names in CLASSES.values() for name in names)
    assert counts == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("run", "resume")])
def test_each_option_is_allowed_or_refused_by_its_class(name, config):
    other = changed(config, name)
    (change,) = differences(OmegaConf.load(Path(config.run) / "config.yaml"), other)
    assert change.name == name
    asked = replace(other, resume=Resume.changed)
    if change.drift is Drift.safe:
        check_folder(other)
        check_folder(asked)
        return
    with pytest.raises(UserError, match=f"{name}: {change.old}, now {change.new}") as told:
        check_folder(other)
    assert ("resume=changed" in str(told.value)) == (change.drift is Drift.changes)
    if change.drift is Drift.changes:
        check_folder(asked)
    else:
        with pytest.raises(UserError, match=f"would not fit: {name}"):
            check_folder(asked)


def test_differences_are_said_by_class_in_one_line(config):
    other = changed(changed(changed(config, "train.batch"), "model.projection"), "train.learning_rate")
    with pytest.raises(UserError) as told:
        check_folder(other)
    (line,) = str(told.value).splitlines()
    refused, changes = line.index("model.projection: 256, now 512"), line.index("train.batch: 1024, now 2048")
    assert refused < line.index("change its mathematics") < changes
    assert "train.learning_rate: 0.0005, now 0.001" in line
    assert "resume=changed" not in line


def test_a_run_may_become_longer_not_shorter(config):
    config.train.steps += 1
    check_folder(config)
    config.train.steps -= 2
    with pytest.raises(UserError, match=r"train\.steps: 10000, now 9999.*resume=changed"):
        check_folder(config)


def test_a_run_of_an_older_version_had_the_defaults(config):
    file = Path(config.run) / "config.yaml"
    old = OmegaConf.load(file)
    del old.train.spike
    old.train.forgotten = 3
    file.write_text(OmegaConf.to_yaml(old))
    with pytest.raises(UserError, match=r"train\.forgotten: 3, now None"):
        check_folder(config)
    del old.train.forgotten
    file.write_text(OmegaConf.to_yaml(old))
    check_folder(config)


def test_other_folders_are_left_alone(config, tmp_path):
    with pytest.raises(UserError, match="resume=never"):
        check_folder(replace(config, resume=Resume.never))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="holds something else"):
        check_folder(replace(config, run=str(tmp_path / "home")))
    with pytest.raises(UserError, match="is a file"):
        check_folder(replace(config, run=str(tmp_path / "home" / "thesis.txt")))


def test_what_a_resume_changed_is_noted_without_secrets(config, monkeypatch):
    monkeypatch.setenv("STORE_TOKEN", "a-secret-word")
    other = replace(changed(config, "train.learning_rate"), data="s3://a-secret-word@store/shards")
    other.resume = Resume.changed
    folder = Path(config.run)
    note_changes(other, 500)
    note_changes(config, 600)
    note_changes(replace(other, run=str(folder / "new")), 0)
    (line,) = (folder / "changes.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "step": 500,
        "changes": {
            "data": ["shards", "s3://[redacted]@store/shards"],
            "train.learning_rate": [0.0005, 0.001],
        },
    }
