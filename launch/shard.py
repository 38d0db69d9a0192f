"""Turn molecules into shards: canonical SMILES, graphs, descriptions, tokens, and an account of every row.

    python launch/shard.py input=molecules.smi.gz output=runs/shards
    python launch/shard.py input='library/*.csv.gz' column=SMILES id_column=ID output=runs/shards executor=processes
    python launch/shard.py input=[a.smi,s3://bucket/b.parquet] output=runs/shards mode=plan
    python launch/shard.py input=molecules.smi output=runs/shards executor=ray     RAY_ADDRESS joins a cluster

Leaves manifest.json (counts, SHA-256 of every shard), blocks.npy, shards/*.tar (WebDataset), rejects.jsonl.gz (file,
line, SMILES, reason) and tokenizers/. The same command run again finishes what is missing, with the same bytes.

    mode=plan      what would be done: tasks, hours, bytes, from a sample of your molecules; writes nothing
    mode=verify    every byte of every shard against the manifest (input= is not needed); exit code 1 if any is broken
    mode=repair    builds again what verify finds broken, from the same input, with the same bytes
    mode=inspect   counts, reasons, sizes and a few molecules, drawn: output/inspect.html (input= is not needed)
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first, where `shard` is this script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.entry import doorway
from sharding.config import Mode, ShardConfig


def run(config: ShardConfig) -> int:
    """Do what the mode says, and print what came of it."""
    if config.mode in (Mode.verify, Mode.repair):
        return _check(config)
    if config.mode is Mode.plan:
        from sharding.estimate import estimate
        from sharding.job import plan_of

        print(estimate(config, plan_of(config)))
        return 0
    if config.mode is Mode.inspect:
        from launch.inspect import inspect

        print(inspect(Path(config.output)))
        return 0
    from sharding.job import shard, summary

    print(summary(shard(config)))
    print(f"shards in {config.output}")
    return 0


def _check(config: ShardConfig) -> int:
    from sharding.verify import repair, verify

    if config.mode is Mode.repair:
        found, manifest = repair(config)
        for problem in found:
            print(problem)
        print(f"{len(found)} problems mended; {len(manifest['shards'])} shards are what was written")
        return 0
    found = verify(config)
    for problem in found:
        print(problem)
    print(
        f"{len(found)} problems. mode=repair builds again what is broken."
        if found
        else "all is as it was written"
    )
    return 1 if found else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("shard", ShardConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
