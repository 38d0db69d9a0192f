"""What a run was told: its config.yaml beside this version's defaults.

run/config.yaml  ->  {"train.batch": 64, ...}, and the options that are not the default
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from pretrain.config import PretrainConfig
from sharding.errors import UserError

WHERE = ("run", "data", "resume", "mode")
"""Options that say where and how a run was started, and not which run it is."""


class Option(NamedTuple):
    """One value of the configuration that is not the default's."""

    name: str
    value: str
    default: str


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"batch": 64}}` as `{"train.batch": 64}`."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """By option, as `train.batch`. Raises `UserError` for a folder that is no pretraining run."""
    file = folder / "config.yaml"
    if not folder.is_dir():
        raise UserError(f"run folder {folder} does not exist. Give the run=... of launch/pretrain.py.")
    if (folder / "stages.json").is_file():
        raise UserError(
            f"{folder} is a demo. Its own report is made by launch/demo.py output={folder} only=report; that of its "
            f"pretraining by run={folder / 'pretrain'}."
        )
    if not file.is_file():
        raise UserError(f"{folder} is no run (no config.yaml). Give the run=... of launch/pretrain.py.")
    try:
        given = OmegaConf.load(file)
        known = OmegaConf.to_container(given, enum_to_str=True) if isinstance(given, DictConfig) else None
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {str(error).splitlines()[0]}. Restore it.") from error
    if not isinstance(known, dict) or "steps" not in known.get("train", {}) or "evaluation" not in known:
        raise UserError(f"{folder} is no pretraining run: its config.yaml is of something else.")
    return _defaults() | flat(known)  # type: ignore[arg-type]


def _defaults() -> dict[str, Any]:
    defaults = OmegaConf.to_container(OmegaConf.structured(PretrainConfig), enum_to_str=True)
    return flat(defaults)  # type: ignore[arg-type]


def changed(config: Mapping[str, Any]) -> list[Option]:
    """What is not the default."""
    defaults = _defaults()
    return [
        Option(name, str(value), str(defaults.get(name, "unknown to this version")))
        for name, value in config.items()
        if value != defaults.get(name) and name not in WHERE
    ]
