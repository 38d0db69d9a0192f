"""What will be done: the input is counted once, cut into tasks, and the configuration gets a fingerprint.

    ShardConfig  ->  Plan: n input rows, partition tasks of consecutive rows, buckets (one shard each), blocks

A molecule's key is a seeded 64-bit hash of its canonical SMILES. The key space is cut into equal buckets, and
a bucket's rows are sorted by key: so equal molecules meet (exact global deduplication), and the rows come out
in random order (the global shuffle) without anybody holding them all. The order of the whole set depends on
the seed only, not on the number of tasks or buckets, and not on who ran them.
"""

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sharding.block import SCHEMA_VERSION
from sharding.config import OnChange, ShardConfig
from sharding.errors import UserError
from sharding.files import read_json, sha256, write_json
from sharding.inputs import check_input, rows
from sharding.tokens import Tokenizers

ROWS_A_TASK = 65_536
ROWS_A_BLOCK = 4_096
BLOCKS_A_SHARD = 128
LEAST_TASKS = 4
"""Small inputs are still cut into this many, so that two cores have something to share."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sharding job. `plan.json` is this, and a second run must make the same one."""

    schema: int
    input: dict[str, Any]
    """path, bytes, sha256, rows"""
    settings: dict[str, Any]
    """every setting, version and tokenizer hash that the shards' bytes depend on"""
    fingerprint: str
    """SHA-256 of input (its path aside) and settings"""
    partitions: list[tuple[int, int]]
    """first row and number of rows, a task each"""
    buckets: int
    """tasks of the second phase, a shard each"""
    rows_a_block: int

    @property
    def seed(self) -> int:
        return int(self.settings["seed"])


def make_plan(config: ShardConfig) -> Plan:
    """Count the input and cut it. Raises `UserError` for input that cannot be read."""
    path = Path(config.input)
    check_input(path, config.column)
    count = sum(1 for _ in rows(path, config.column))
    if count == 0:
        raise UserError(f"input file {path} holds no molecule. Expected one a line.")
    tokenizers = Tokenizers.load(config.record.smiles_tokenizer, config.record.text_tokenizer)
    source = {"bytes": path.stat().st_size, "sha256": sha256(path), "rows": count}
    record = json.loads(json.dumps(asdict(config.record)))
    record = {name: value for name, value in record.items() if not name.endswith("_tokenizer")}
    settings = {
        "column": config.column,
        "seed": config.seed,
        "record": record,
        "tokenizers": tokenizers.sha256,
        "versions": {"schema": SCHEMA_VERSION, "rdkit": version("rdkit")},
    }
    # about 64 blocks of a small input, so that it can still be dealt to lanes; 4,096 rows a block at scale
    rows_a_block = min(ROWS_A_BLOCK, max(16, 1 << max(0, (count // 64).bit_length() - 1)))
    rows_a_task = min(ROWS_A_TASK, -(-count // LEAST_TASKS))
    rows_a_shard = min(rows_a_block * BLOCKS_A_SHARD, -(-count // LEAST_TASKS))
    return Plan(
        schema=SCHEMA_VERSION,
        input={"path": str(path.resolve()), **source},
        settings=settings,
        fingerprint=hashlib.sha256(repr((source, settings)).encode()).hexdigest(),
        partitions=[(first, min(rows_a_task, count - first)) for first in range(0, count, rows_a_task)],
        buckets=-(-count // rows_a_shard),
        rows_a_block=rows_a_block,
    )


def adopt(plan: Plan, output: Path, on_change: OnChange) -> bool:
    """Bind the plan to its folder. True when the folder already held the same plan.

    Raises `UserError` when the folder holds something else, or, unless told to overwrite, another plan.
    """
    file = output / "plan.json"
    if output.exists() and not output.is_dir():
        raise UserError(f"output {output} is a file. Give a folder, new or with shards of the same job.")
    if output.is_dir() and any(output.iterdir()) and not file.is_file():
        raise UserError(f"output folder {output} holds something else (no plan.json). Give a new folder.")
    if file.is_file():
        old = read_json(file)
        if old.get("fingerprint") == plan.fingerprint:
            write_json(file, asdict(plan))  # the input may have moved
            return True
        if on_change is not OnChange.overwrite:
            raise UserError(
                f"{output} was sharded with another configuration ({'; '.join(_differences(old, plan))}). "
                "Use a new output, or on_change=overwrite to build it again."
            )
        _sweep(output)
    write_json(file, asdict(plan))
    return False


def load_plan(output: Path) -> Plan:
    """The plan that a task works by."""
    stored = read_json(output / "plan.json")
    stored["partitions"] = [(first, n) for first, n in stored["partitions"]]
    return Plan(**stored)


def molecule_key(smiles: str, seed: int) -> int:
    """64 bits that decide bucket and order of a canonical SMILES."""
    digest = hashlib.blake2b(smiles.encode(), digest_size=8, key=seed.to_bytes(8, "little", signed=True))
    return int.from_bytes(digest.digest(), "big")


def _differences(old: dict[str, Any], plan: Plan) -> list[str]:
    """`seed: 0, now 1` for whatever the fingerprint covers."""
    before = _flat({"input": old.get("input", {}), "settings": old.get("settings", {})})
    now = _flat({"input": plan.input, "settings": plan.settings})
    names = sorted(name for name in before.keys() | now.keys() if name != "input.path")
    return [
        f"{name.removeprefix('settings.')}: {before.get(name)}, now {now.get(name)}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    pairs = (
        _flat(value, f"{prefix}{name}.").items() if isinstance(value, dict) else [(prefix + name, value)]
        for name, value in tree.items()
    )
    return dict(itertools.chain.from_iterable(pairs))


def _sweep(output: Path) -> None:
    """Remove what a job wrote, and nothing else; the manifest first, so that no reader sees a half."""
    for name in ("manifest.json", "plan.json", "rejects.jsonl"):
        (output / name).unlink(missing_ok=True)
    for folder in ("shards", "work"):
        for file in (output / folder).glob("*"):
            file.unlink()
