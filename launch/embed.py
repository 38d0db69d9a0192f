"""Embed: a file of molecules of any length becomes the encoder's vectors, row by row.

    python launch/embed.py encoder=runs/encoder table=library.smi.gz output=runs/library.parquet
    python launch/embed.py encoder=runs/encoder table=library.csv id=name views=[local,text] output=vectors.csv

Rows keep their order. A SMILES that cannot be read keeps its row, with the reason under `error`. Memory does not
grow with the file; a job that was stopped goes on where it was when the same command is run again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.entry import doorway
from pretrain.config import EmbedConfig


def run(config: EmbedConfig) -> None:
    """Embed, then print the account."""
    from pretrain.embed import embed
    from sharding.molecule import REASONS

    account = embed(config)
    print(f"{account.n:,} rows, {account.rejected.total():,} rejected")
    for reason, count in account.rejected.most_common():
        print(f"  {count:,} x {reason}: {REASONS[reason]}")
    print(f"vectors in {config.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("embed", EmbedConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
