"""What a job would be, before it is one: tasks, hours, bytes, from a sample of its own molecules on this machine.

ShardConfig  ->  lines for a person
"""

import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

from zstandard import ZstdCompressor

from sharding import block
from sharding.config import Executor, ShardConfig
from sharding.execute import cores
from sharding.featurize import Featurized
from sharding.guard import guarded
from sharding.partition import canonical_smiles
from sharding.plan import BLOCKS_A_SHARD, Plan
from sharding.records import Row as SmilesRow
from sharding.records import guarded_features
from sharding.sources import Row, read
from sharding.tokens import Tokenizers

SAMPLE = 1024
PLACES = 4
"""Stretches of the input that the sample is taken from: files are often sorted."""


class Cost(NamedTuple):
    """Of one input row, measured."""

    canonical_s: float
    features_s: float
    work_bytes: float
    shard_bytes: float
    kept: float
    """Share of the rows that become records."""


def estimate(config: ShardConfig, plan: Plan) -> str:
    """Measure a sample, and multiply."""
    cost = measure(config, plan)
    rows, workers = plan.rows, 1
    if config.executor is not Executor.serial:
        workers = config.workers or cores()
    core_s = rows * (cost.canonical_s + cost.features_s)
    input_bytes = sum(one.survey.bytes for one in plan.inputs)
    blocks = -(-rows // plan.rows_a_block)
    where = f"{config.executor.value}, {workers} at a time"
    if config.executor is Executor.ray and not config.workers:
        where = f"ray, taken as {workers} at a time: this machine's cores; set workers= for a cluster's"
    return "\n".join(
        [
            f"{rows:,} rows in {len(plan.inputs):,} files, {input_bytes / 1e6:,.1f} MB",
            f"{len(plan.partitions):,} partition tasks, then {plan.buckets:,} shards of at most "
            f"{BLOCKS_A_SHARD} blocks; {blocks:,} blocks of about {plan.rows_a_block:,} molecules",
            f"a row costs {1e6 * cost.canonical_s:,.0f} us to canonicalise and {1e6 * cost.features_s:,.0f} us to "
            f"featurize and encode ({cost.kept:.1%} kept of a sample of {min(SAMPLE, rows):,})",
            f"{_hours(core_s)} of core time; about {_hours(core_s / workers)} with {where}",
            f"{rows * cost.shard_bytes / 1e6:,.1f} MB of shards ({cost.shard_bytes:.0f} bytes a row; small blocks pack "
            f"worse), {rows * cost.work_bytes / 1e6:,.1f} MB of working files until the end",
            "Nothing was written. mode=run does it.",
        ]
    )


def measure(config: ShardConfig, plan: Plan) -> Cost:
    """Take a sample through both phases."""
    smiles = [row.smiles for row in sample(plan)]
    tokenizers = Tokenizers.load(config.record.smiles_tokenizer, config.record.text_tokenizer)

    def records(canonical: Sequence[str]) -> Featurized:
        rows = [SmilesRow(one, number, "") for number, one in enumerate(canonical)]
        return guarded_features(rows, tokenizers, plan.record, config.time_limit_s)[0]

    def canonicalised(strings: Sequence[str]) -> list[str]:
        made, _ = guarded(canonical_smiles, strings, plan.record, time_limit_s=config.time_limit_s)
        return [one for one, reason in made if not reason]

    # once unmeasured: the child starts, compiles, and fills tables that a task fills once for 500,000 molecules
    records(canonicalised(smiles))
    begun = time.perf_counter()
    canonical = canonicalised(smiles)
    middle = time.perf_counter()
    found = records(canonical)
    members = block.encode(
        found.molecules,
        found.smiles,
        found.texts,
        fingerprints=found.fingerprints,
        skeletons=found.skeletons,
        tokenizers=tokenizers,
    )
    end = time.perf_counter()
    rows = max(1, len(smiles))
    return Cost(
        canonical_s=(middle - begun) / rows,
        features_s=(end - middle) / rows,
        work_bytes=(len(ZstdCompressor(level=1).compress("\n".join(canonical).encode())) + 4) / rows,
        shard_bytes=sum(map(len, members.values())) / rows,
        kept=len(found.molecules) / rows,
    )


def sample(plan: Plan) -> Sequence[Row]:
    """Rows from a few places of the input, the first of each."""
    each = -(-SAMPLE // PLACES)
    step = max(1, len(plan.partitions) // PLACES)
    found: list[Row] = []
    for piece, *_ in plan.partitions[::step][:PLACES]:
        one = plan.inputs[piece.file]
        rows = read(one.source, one.survey, piece.first, min(piece.rows, each), plan.columns)
        found += itertools.islice(rows, each)
    return found


def _hours(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
