"""One task, whole or absent, and nothing but a function of the plan: partition rows, or featurize a bucket.

    partition i   input rows  ->  work/p<i>.tsv   canonical SMILES by bucket, work/p<i>.rejects.jsonl.gz
    featurize j   bucket j    ->  shards/s<j>.tar in blocks, shards/s<j>.rejects.jsonl.gz
Each ends by writing its `.stats.json`: the commit marker. A task run twice, or by two workers at once, writes
the same bytes, so deaths and races are harmless. Workers return a small dictionary; molecules never travel
through the driver.
"""

import gzip
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import webdataset
from rdkit import rdBase

from sharding import block
from sharding.config import record_config
from sharding.featurize import featurize
from sharding.files import read_json, sha256, write_bytes, write_json, write_whole
from sharding.graph import ATOM_COLUMNS, BOND_COLUMNS
from sharding.inputs import rows
from sharding.molecule import Rejected, canonicalise
from sharding.plan import Plan, load_plan, molecule_key
from sharding.tokens import Tokenizers

Kind = Literal["partition", "featurize"]


class Task(NamedTuple):
    """Task `number` of a kind, of the job in `root`."""

    root: str
    kind: Kind
    number: int

    @property
    def stem(self) -> Path:
        """Its files begin so."""
        folder, letter = ("work", "p") if self.kind == "partition" else ("shards", "s")
        return Path(self.root) / folder / f"{letter}{self.number:06d}"

    @property
    def stats(self) -> Path:
        """The commit marker."""
        return self.stem.with_suffix(".stats.json")


def run_task(task: Task) -> dict[str, Any]:
    """Do the task and return its statistics, as its stats file has them."""
    plan = load_plan(Path(task.root))
    stats = _partition(task, plan) if task.kind == "partition" else _featurize(task, plan)
    write_json(task.stats, stats)
    return stats


def _partition(task: Task, plan: Plan) -> dict[str, Any]:
    record = record_config(plan.settings["record"])
    first, count = plan.partitions[task.number]
    source = rows(Path(plan.input["path"]), plan.settings["column"])
    by_bucket: dict[int, list[str]] = {}
    rejects, reasons = [], Counter[str]()
    with rdBase.BlockLogs():
        for line, smiles in itertools.islice(source, first, first + count):
            try:
                canonical = canonicalise(
                    smiles, max_atoms=record.max_atoms, max_characters=record.max_smiles_characters
                )
            except Rejected as rejection:
                rejects.append(_reject(line, smiles, rejection.reason))
                reasons[rejection.reason] += 1
                continue
            key = molecule_key(canonical, plan.seed)
            by_bucket.setdefault(key * plan.buckets >> 64, []).append(f"{key:016x}\t{line}\t{canonical}\n")
    parts = ["".join(by_bucket.get(bucket, ())).encode() for bucket in range(plan.buckets)]
    write_bytes(task.stem.with_suffix(".tsv"), b"".join(parts))
    _write_rejects(task, rejects)
    return {
        "n_in": count,
        "n_ok": count - len(rejects),
        "n_rejected": dict(reasons),
        "offsets": list(itertools.accumulate(map(len, parts), initial=0)),
    }


def _bucket_rows(task: Task, plan: Plan) -> list[tuple[str, str, int]]:
    """(key, canonical SMILES, line) of this bucket, from every partition, sorted: equal molecules adjacent."""
    found = []
    for index in range(len(plan.partitions)):
        partition = Task(task.root, "partition", index)
        start, stop = read_json(partition.stats)["offsets"][task.number : task.number + 2]
        with partition.stem.with_suffix(".tsv").open("rb") as stream:
            stream.seek(start)
            for text in stream.read(stop - start).decode().splitlines():
                key, line, smiles = text.split("\t")
                found.append((key, smiles, int(line)))
    return sorted(found)


def _featurize(task: Task, plan: Plan) -> dict[str, Any]:
    found = _bucket_rows(task, plan)
    # the first line that holds a molecule keeps it
    unique = [next(same) for _, same in itertools.groupby(found, key=lambda row: row[1])]
    totals = {name: Counter[str]() for name in ("n_rejected", "unknown", "cut", "unknown_tokens")}
    blocks: list[dict[str, int]] = []
    rejects: list[bytes] = []

    def write(stream: IO[bytes]) -> None:
        tar = webdataset.TarWriter(stream, encoder=False, mtime=0)
        tar.write({"__key__": "__meta__/schema", "json": _schema(plan)})
        for members, count in _blocks(Path(task.root), unique, plan, totals, rejects):
            start = tar.tarstream.offset
            tar.write({"__key__": f"{task.stem.name}_b{len(blocks):04d}", **members})
            blocks.append({"offset": start, "bytes": tar.tarstream.offset - start, "rows": count})
        tar.close()

    shard = task.stem.with_suffix(".tar")
    write_whole(shard, write)
    with shard.open("rb") as stream:
        for entry in blocks:
            stream.seek(entry["offset"])
            entry["crc32"] = zlib.crc32(stream.read(entry["bytes"]))
    _write_rejects(task, rejects)
    return {
        "n_ok": sum(entry["rows"] for entry in blocks),
        "n_duplicate": len(found) - len(unique),
        **{name: dict(sorted(counter.items())) for name, counter in totals.items()},
        "bytes": shard.stat().st_size,
        "sha256": sha256(shard),
        "blocks": blocks,
    }


def _blocks(
    root: Path,
    unique: list[tuple[str, str, int]],
    plan: Plan,
    totals: dict[str, Counter[str]],
    rejects: list[bytes],
) -> Iterator[tuple[dict[str, bytes], int]]:
    """Encoded blocks and their number of molecules, adding to the totals and the rejects."""
    record = record_config(plan.settings["record"])
    tokenizers = Tokenizers.beside(root)
    count = -(-len(unique) // plan.rows_a_block)
    # equal sizes, not full ones and a rest: lanes are as long as their smallest blocks
    bounds = [len(unique) * index // count for index in range(count + 1)] if count else [0]
    for first, last in itertools.pairwise(bounds):
        rows_here = unique[first:last]
        made = featurize(
            [smiles for _, smiles, _ in rows_here],
            np.array([line for _, _, line in rows_here], np.int64),
            tokenizers,
            record,
        )
        for position, reason in made.rejected:
            rejects.append(_reject(rows_here[position][2], rows_here[position][1], reason))
            totals["n_rejected"][reason] += 1
        for name in ("unknown", "cut", "unknown_tokens"):
            totals[name].update({k: v for k, v in getattr(made, name).items() if v})
        if len(made.molecules):
            yield block.encode(made.molecules, made.smiles, made.texts), len(made.molecules)


def _schema(plan: Plan) -> bytes:
    """What a reader of this one tar must know, as its first member."""
    columns = {
        room: [[column.name, column.kind, list(column.meaning)] for column in table]
        for room, table in (("atom", ATOM_COLUMNS), ("bond", BOND_COLUMNS))
    }
    return json.dumps({"schema": plan.schema, "fingerprint": plan.fingerprint, **columns}).encode()


def _reject(line: int, smiles: str, reason: str) -> bytes:
    return json.dumps({"line": line, "smiles": smiles, "reason": reason}).encode() + b"\n"


def _write_rejects(task: Task, rejects: list[bytes]) -> None:
    write_bytes(task.stem.with_suffix(".rejects.jsonl.gz"), gzip.compress(b"".join(rejects), mtime=0))
