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
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
import webdataset
from rdkit import Chem

from sharding import block
from sharding.binary import PROBES
from sharding.config import RecordConfig, Text
from sharding.featurize import Featurized, featurize
from sharding.files import sha256, write_bytes, write_json, write_whole
from sharding.graph import ATOM_COLUMNS, BOND_COLUMNS
from sharding.guard import guarded
from sharding.partition import bucket_rows, reject
from sharding.plan import Plan, load_plan
from sharding.task import Stats, Task
from sharding.tokens import Tokenizers, Where, opened

if TYPE_CHECKING:  # imported when a text is asked for
    from sharding.text.language_model import TextWriter


class Row(NamedTuple):
    """A distinct molecule of a bucket."""

    smiles: str
    id: int
    name: str


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
            made, counted = retold(made, _writer(plan, root), tokenizers, plan.record)
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
                tokenizers=tokenizers,
            )
            yield Made(members, len(made.molecules))


def guarded_features(
    rows: Sequence[Row], tokenizers: Tokenizers, record: RecordConfig, time_limit_s: float
) -> tuple[Featurized, dict[int, str]]:
    """The records of these rows, any of which may hang or crash: see `guarded`."""
    probes = [Row(smiles, 0, "") for smiles in PROBES]
    return guarded(features, rows, tokenizers.where, record, time_limit_s=time_limit_s, warm_up=probes)


def features(rows: Sequence[Row], tokenizers: Where, record: RecordConfig) -> Featurized:
    """The records of these rows: what the guard's child does."""
    numbers = np.array([row.id for row in rows], np.int64)
    return featurize([row.smiles for row in rows], numbers, opened(tokenizers), record)


def retold(
    made: Featurized, writer: "TextWriter", tokenizers: Tokenizers, record: RecordConfig
) -> tuple[Featurized, Counter[str]]:
    """The same records with a language model's texts, and how many came from where."""
    molecules = [Chem.MolFromSmiles(smiles) for smiles in made.smiles]  # these came through the guard
    texts, counted = writer.write(molecules, made.smiles, made.texts)
    tokens = tokenizers.text.encode(texts, record.max_text_tokens)
    columns = replace(made.molecules, n_text_tokens=tokens.lengths, text_tokens=tokens.ids)
    return (
        replace(
            made,
            molecules=columns,
            texts=texts,
            cut=Counter({**made.cut, "text": tokens.cut}),
            unknown_tokens=Counter({**made.unknown_tokens, "text": tokens.unknown}),
        ),
        counted,
    )


_writers: dict[str, "TextWriter"] = {}
"""One a process and configuration: a model is loaded once, a cache is read once."""


def _writer(plan: Plan, root: Path) -> "TextWriter":
    from sharding.text.language_model import TextWriter

    config = plan.record.language_model
    folder = Path(config.cache) if config.cache else root / "text_cache"
    key = f"{folder} {config}"
    if key not in _writers:
        _writers.clear()
        _writers[key] = TextWriter(config, folder)
    return _writers[key]


def _schema(plan: Plan) -> bytes:
    """What a reader of this one tar must know, as its first member."""
    columns = {
        room: [[column.name, column.kind, list(column.meaning)] for column in table]
        for room, table in (("atom", ATOM_COLUMNS), ("bond", BOND_COLUMNS))
    }
    return json.dumps({"schema": plan.schema, "fingerprint": plan.fingerprint, **columns}).encode()
