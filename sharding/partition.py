"""The first phase's task: input rows become canonical SMILES, sorted into buckets by hash.

    rows of one input file  ->  work/p<i>.rows            bucket after bucket, zstd each; where they end, u64 each
                                work/p<i>.rejects.jsonl.gz
                                work/p<i>.stats.json      written last: the commit marker
A row of a bucket is `id <tab> canonical SMILES <tab> name`; the id tells file and line. Equal molecules have
equal hashes and meet in one bucket, so duplicates are found exactly and globally, by anybody who holds that
bucket alone.
"""

import gzip
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import zstandard
from numpy.typing import NDArray
from rdkit import rdBase

from sharding.config import RecordConfig
from sharding.files import write_bytes, write_json, write_whole
from sharding.guard import guarded
from sharding.molecule import Rejected, canonicalise
from sharding.plan import Plan, load_plan, molecule_key
from sharding.sources import Row, read
from sharding.task import Stats, Task

AT_A_TIME = 512
"""Rows that go to the guard's child at a time: a tenth of a second of work for one message."""
ENDS = np.dtype("<u8")


def partition(task: Task) -> Stats:
    """Canonicalise and sort the rows of this task."""
    plan = load_plan(task.root)
    buckets = _Buckets(plan.buckets)
    reasons: Counter[str] = Counter()
    rejects: list[bytes] = []
    lines = 0
    for piece in plan.partitions[task.number]:
        source, survey = plan.inputs[piece.file]
        rows = read(source, survey, piece.first, piece.rows, plan.columns)
        while group := list(itertools.islice(rows, AT_A_TIME)):
            lines += len(group)
            for row, (canonical, reason) in zip(group, _canonical(group, plan), strict=True):
                if reason:
                    reasons[reason] += 1
                    rejects.append(reject(source.url, row.line, row.smiles, reason))
                    continue
                key = molecule_key(canonical, plan.seed)
                name = _one_word(row.id) if plan.settings["keep_ids"] else ""
                buckets.add(
                    key * plan.buckets >> 64, f"{plan.row_id(piece.file, row.line)}\t{canonical}\t{name}\n"
                )
    write_whole(task.data, buckets.write, task.scratch)
    write_bytes(task.rejects, gzip.compress(b"".join(rejects), mtime=0), task.scratch)
    stats = {
        "n_in": lines,
        "n_blank": sum(piece.rows for piece in plan.partitions[task.number]) - lines,
        "n_ok": lines - reasons.total(),
        "n_rejected": dict(sorted(reasons.items())),
        "bytes": task.data.stat().st_size,
    }
    write_json(task.stats, stats, task.scratch)
    return stats


def bucket_rows(task: Task, plan: Plan) -> list[tuple[int, str, int, str]]:
    """(key, canonical SMILES, id, name) of this featurize task's bucket, sorted: equal molecules side by side."""
    found = []
    unpack = zstandard.ZstdDecompressor()
    for index in range(len(plan.partitions)):
        with Task(task.root, "partition", index).data.open("rb") as stream:
            start, stop = _bounds(stream, task.number, plan.buckets)
            stream.seek(start)
            packed = stream.read(stop - start)
        for text in (unpack.decompress(packed) if packed else b"").decode().splitlines():
            number, smiles, name = text.split("\t")
            found.append((molecule_key(smiles, plan.seed), smiles, int(number), name))
    return sorted(found)


def reject(url: str, line: int, smiles: str, reason: str) -> bytes:
    """A line of the list of rejects."""
    return json.dumps({"file": url, "line": line, "smiles": smiles, "reason": reason}).encode() + b"\n"


def canonical_smiles(smiles: Sequence[str], record: RecordConfig) -> list[tuple[str, str]]:
    """(canonical SMILES, "") or ("", reason) of each: what the guard's child does."""
    found = []
    with rdBase.BlockLogs():
        for one in smiles:
            try:
                found.append(
                    (
                        canonicalise(
                            one,
                            max_atoms=record.max_atoms,
                            max_characters=record.max_smiles_characters,
                            standard=record.standardise,
                        ),
                        "",
                    )
                )
            except Rejected as rejection:
                found.append(("", rejection.reason))
    return found


def _canonical(group: Sequence[Row], plan: Plan) -> Iterator[tuple[str, str]]:
    """As `canonical_smiles`, of rows any of which may hang or crash."""
    made, dead = guarded(
        canonical_smiles,
        [row.smiles for row in group],
        plan.record,
        time_limit_s=plan.options["time_limit_s"],
    )
    alive = iter(made)
    for position in range(len(group)):
        yield ("", dead[position]) if position in dead else next(alive)


def _one_word(name: str) -> str:
    return " ".join(name.split())  # a name may hold anything; a row is a line with tabs


class _Buckets:
    """Rows that wait to be written by bucket: flat lists, since a task may hold millions."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._bucket: list[int] = []
        self._row: list[bytes] = []

    def add(self, bucket: int, row: str) -> None:
        self._bucket.append(bucket)
        self._row.append(row.encode())

    def write(self, stream: IO[bytes]) -> None:
        """The buckets, then where each ends."""
        bucket = np.array(self._bucket, np.int64)
        order = np.argsort(bucket, kind="stable")
        bounds = np.searchsorted(bucket[order], np.arange(self.count + 1))
        pack = zstandard.ZstdCompressor(level=1)
        ends = np.zeros(self.count, ENDS)
        written = 0
        for number, (first, last) in enumerate(itertools.pairwise(bounds.tolist())):
            if last > first:
                written += stream.write(pack.compress(b"".join(self._row[row] for row in order[first:last])))
            ends[number] = written
        stream.write(ends.tobytes())


def _bounds(stream: IO[bytes], bucket: int, count: int) -> tuple[int, int]:
    """Where a bucket begins and ends in a file of rows."""
    wanted: NDArray[Any]
    if bucket == 0:
        stream.seek(-count * ENDS.itemsize, 2)
        wanted = np.frombuffer(stream.read(ENDS.itemsize), ENDS)
        return 0, int(wanted[0])
    stream.seek((bucket - 1 - count) * ENDS.itemsize, 2)
    wanted = np.frombuffer(stream.read(2 * ENDS.itemsize), ENDS)
    return int(wanted[0]), int(wanted[1])
