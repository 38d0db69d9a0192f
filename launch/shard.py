"""Turn molecules into shards: canonical SMILES, graphs, descriptions, tokens, and an account of every row.

    python launch/shard.py input=molecules.smi.gz output=runs/shards
    python launch/shard.py input=library.csv column=SMILES output=runs/shards executor=processes
    python launch/shard.py input=molecules.smi output=runs/shards executor=ray     RAY_ADDRESS joins a cluster

Leaves manifest.json (counts, SHA-256 of every shard), shards/*.tar (WebDataset), rejects.jsonl (line, SMILES,
reason) and tokenizers/. The same command run again finishes what is missing, with the same bytes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first, where `shard` is this script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.entry import doorway
from sharding.config import ShardConfig


def run(config: ShardConfig) -> None:
    """Shard, then print the account."""
    from sharding.job import shard, summary

    manifest = shard(config)
    print(summary(manifest))
    print(f"shards in {config.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("shard", ShardConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
