"""The second phase's task: one bucket of canonical SMILES becomes a shard.

    bucket j of every partition  ->  shards/s<j>.tar in blocks, shards/s<j>.rejects.jsonl.gz, shards/s<j>.stats.json
The stats file is written last: the commit marker. A task run twice, or by two workers at once, writes the same
bytes, so deaths and races are harmless. Workers return a small dictionary; molecules never travel through the
driver.
"""

import gzip
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import webdataset

from sharding import block
from sharding.config import Text
from sharding.feature_table import ATOM_COLUMNS, BOND_COLUMNS
from sharding.featurize import Featurized
from sharding.files import sha256, write_bytes, write_json, write_whole
from sharding.partition import bucket_rows, reject
from sharding.plan import Plan, load_plan
from sharding.records import Row, guarded_features, retold, text_writer
from sharding.task import Stats, Task
from sharding.tokens import Tokenizers


class Made(NamedTuple):
    """An encoded block and what is to be counted of it."""

    members: dict[str, bytes]
    rows: int


def write_shard(task: Task) -> Stats:
    """Featurize the bucket, write the shard, then its statistics."""
    plan = load_plan(task.root)
    found = bucket_rows(task, plan)
    # sorted by key, SMILES, id: the first line that holds a molecule keeps it
    unique = [Row(*next(same)[1:]) for _, same in itertools.groupby(found, key=lambda row: row[1])]
    account = _Account(plan)
    blocks: list[dict[str, int]] = []

    def write(stream: IO[bytes]) -> None:
        with webdataset.TarWriter(stream, encoder=False, mtime=0) as tar:
            tar.write({"__key__": "__meta__/schema", "json": _schema(plan)})
            for made in _blocks(Path(task.root), unique, plan, account):
                start = tar.tarstream.offset
                tar.write({"__key__": f"{task.stem.name}_b{len(blocks):04d}", **made.members})
                blocks.append({"offset": start, "bytes": tar.tarstream.offset - start, "rows": made.rows})

    write_whole(task.data, write, task.scratch)
    with task.data.open("rb") as stream:
        for entry in blocks:
            stream.seek(entry["offset"])
            entry["crc32"] = zlib.crc32(stream.read(entry["bytes"]))
    write_bytes(task.rejects, gzip.compress(b"".join(account.rejects), mtime=0), task.scratch)
    stats = {
        "n_ok": sum(entry["rows"] for entry in blocks),
        "n_duplicate": len(found) - len(unique),
        **{name: dict(sorted(counter.items())) for name, counter in account.counts.items()},
        "bytes": task.data.stat().st_size,
        "sha256": sha256(task.data),
        "blocks": blocks,
    }
    write_json(task.stats, stats, task.scratch)
    return stats


class _Account:
    """What is counted while the blocks are made, and the rows that could not be."""

    def __init__(self, plan: Plan) -> None:
        self.counts = {
            name: Counter[str]() for name in ("n_rejected", "unknown", "cut", "unknown_tokens", "text")
        }
        self.rejects: list[bytes] = []
        self._plan = plan

    def reject(self, row: Row, reason: str) -> None:
        url, line = self._plan.origin(row.id)
        self.rejects.append(reject(url, line, row.smiles, reason))
        self.counts["n_rejected"][reason] += 1

    def add(self, made: Featurized) -> None:
        for name in ("unknown", "cut", "unknown_tokens"):
            self.counts[name].update({k: v for k, v in getattr(made, name).items() if v})


def _blocks(root: Path, unique: Sequence[Row], plan: Plan, account: _Account) -> Iterator[Made]:
    """Encoded blocks, adding to the account."""
    count = -(-len(unique) // plan.rows_a_block)
    # equal sizes, not full ones and a rest: lanes are as long as their smallest blocks
    bounds = [len(unique) * index // count for index in range(count + 1)] if count else [0]
    tokenizers = Tokenizers.beside(root)
    for first, last in itertools.pairwise(bounds):
        here = unique[first:last]
        made, dead = guarded_features(here, tokenizers, plan.record, plan.options["time_limit_s"])
        alive = [row for position, row in enumerate(here) if position not in dead]
        for position, reason in dead.items():
            account.reject(here[position], reason)
        for position, reason in made.rejected:
            account.reject(alive[position], reason)
        if plan.record.text is Text.llm:
            made, counted = retold(made, text_writer(plan, root), tokenizers, plan.record)
            account.counts["text"].update(counted)
        account.add(made)
        if len(made.molecules):
            names = [alive[position].name for position in made.kept.tolist()]
            members = block.encode(
                made.molecules,
                made.smiles,
                made.texts,
                fingerprints=made.fingerprints,
                ids=names if any(names) else None,
                skeletons=made.skeletons,
                tokenizers=tokenizers,
            )
            yield Made(members, len(made.molecules))


def _schema(plan: Plan) -> bytes:
    """What a reader of this one tar must know, as its first member."""
    columns = {
        room: [[column.name, column.kind, list(column.meaning)] for column in table]
        for room, table in (("atom", ATOM_COLUMNS), ("bond", BOND_COLUMNS))
    }
    return json.dumps({"schema": plan.schema, "fingerprint": plan.fingerprint, **columns}).encode()
