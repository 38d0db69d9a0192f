"""Pretrain: both contrastive streams on shards, on one process or many.

    python launch/pretrain.py data=runs/shards run=runs/pretrain model=small train.steps=200
    deepspeed --num_gpus 2 launch/pretrain.py data=runs/shards run=runs/pretrain        2 GPUs, or 2 CPU ranks
    deepspeed --hostfile hosts launch/pretrain.py data=runs/shards run=runs/pretrain    several machines

train.batch counts the molecules of a step over all ranks. Leaves config.yaml, metrics.jsonl, evaluation.jsonl,
tensorboard/ and checkpoints/ in the run folder; the same command run again goes on from the newest checkpoint.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first, where `pretrain` is this script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.entry import doorway
from pretrain.config import PretrainConfig


def run(config: PretrainConfig) -> None:
    """Train; the loop itself reports."""
    from pretrain.train import pretrain

    # in full, because config.yaml is read again by an export that may start elsewhere
    config.data, config.run = str(Path(config.data).resolve()), str(Path(config.run).resolve())
    pretrain(config)


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    return doorway("pretrain", PretrainConfig, run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
