"""A plan and its folder: the same job goes on, another one is refused with the difference, a stranger is left alone.

Plan, folder  ->  whether the folder already held this job; or UserError
"""

import itertools
from pathlib import Path
from typing import Any

from sharding.config import OnChange
from sharding.errors import UserError
from sharding.files import read_json, write_json
from sharding.plan import Plan, plain


def adopt(plan: Plan, output: Path, on_change: OnChange) -> bool:
    """Bind the plan to its folder. True when the folder already held the same plan.

    Raises `UserError` when the folder holds something else, or, unless told to overwrite, another plan.
    """
    file = output / "plan.json"
    if output.exists() and not output.is_dir():
        raise UserError(f"output {output} is a file. Give a folder, new or with shards of the same job.")
    if output.is_dir() and any(output.iterdir()) and not file.is_file():
        raise UserError(f"output folder {output} holds something else (no plan.json). Give a new folder.")
    held = False
    if file.is_file():
        old = read_json(file)
        held = old.get("fingerprint") == plan.fingerprint
        if not held and on_change is not OnChange.overwrite:
            raise UserError(
                f"{output} was sharded with another configuration ({'; '.join(_differences(old, plan))}). "
                "Use a new output, or on_change=overwrite to build it again."
            )
        if not held:
            _sweep(output)
    write_json(file, plain(plan))  # also when held: the input may have moved, options may have changed
    return held


def _differences(old: dict[str, Any], plan: Plan) -> list[str]:
    """`seed: 0, now 1` for whatever the fingerprint covers."""
    before, now = _flat(_compared(old)), _flat(_compared(plain(plan)))
    return [
        f"{name.removeprefix('settings.')}: {before.get(name)}, now {now.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ] or ["another version of the shards' format"]


def _compared(stored: dict[str, Any]) -> dict[str, Any]:
    inputs = stored.get("inputs", [])
    surveys = [one.get("survey", {}) for one in inputs] if isinstance(inputs, list) else []
    return {
        "settings": stored.get("settings", {}),
        "input": {name: sum(one.get(name, 0) for one in surveys) for name in ("bytes", "rows")}
        | {"files": len(surveys), "sha256": " ".join(str(one.get("sha256", ""))[:12] for one in surveys[:8])},
    }


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    pairs = (
        _flat(value, f"{prefix}{name}.").items() if isinstance(value, dict) else [(prefix + name, value)]
        for name, value in tree.items()
    )
    return dict(itertools.chain.from_iterable(pairs))


def _sweep(output: Path) -> None:
    """Remove what a job wrote, and nothing else; the manifest first, so that no reader sees a half."""
    for name in ("manifest.json", "plan.json", "rejects.jsonl.gz", "blocks.npy"):
        (output / name).unlink(missing_ok=True)
    for folder in ("shards", "work"):
        for file in (output / folder).glob("*"):
            file.unlink()
