"""Pretrain: both contrastive streams on shards, on one process or many.

    python launch/pretrain.py data=runs/shards run=runs/pretrain model=small train.steps=200
    python launch/pretrain.py data=runs/shards run=runs/pretrain supervise.ranks=2      2 GPUs or 2 CPU ranks, watched
    deepspeed --num_gpus 2 launch/pretrain.py data=runs/shards run=runs/pretrain        the same, not restarted
    deepspeed --hostfile hosts launch/pretrain.py data=runs/shards run=runs/pretrain    several machines
    any of these with mode=check    in a minute: would it work here, how long would it take, and how much disk?

train.batch counts the molecules of a step over all ranks. Leaves config.yaml, metrics.jsonl, evaluation.jsonl,
tensorboard/ and checkpoints/ in the run folder; the same command run again goes on from the newest checkpoint.
SIGTERM, SIGINT and SIGUSR1 save and stop. Several machines, Slurm and torchrun: docs/multi_node.md.

Exit codes:
      0  done
      1  a programming error, with its traceback; or not stopped in time after a signal; or mode=check found a problem
      2  a mistake that you can mend, said in one line
      3  the numbers went wrong too often (train.stop_after_bad)
     75  stopped by a signal, and saved: the same command goes on
    124  no step ended for train.hang_s seconds; where each rank stood is in the run folder
    130  interrupted before there was anything to save
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

if not __package__:  # run as a file: Python put launch/ first, where `pretrain` is this script
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from launch.config import PretrainCommand, SupervisionConfig
from launch.entry import doorway
from launch.ranks import Signals, attempt, started_here
from launch.supervise import supervise
from pretrain.config import Mode
from sharding.errors import UserError


def run(given: Sequence[str], command: PretrainCommand) -> int | None:
    """Train, or start ranks that do; the loop itself reports."""
    # in full, because config.yaml is read again by an export that may start elsewhere
    command.data, command.run = str(Path(command.data).resolve()), str(Path(command.run).resolve())
    if supervises(command.supervise):
        rank = [sys.executable, str(Path(__file__).resolve()), *given]
        if command.mode is Mode.check:  # what it finds is no reason to start again
            with Signals() as signals:
                ended = attempt(rank, command.supervise.ranks, signals, command.supervise.grace_s)
                return ended.code if ended.code >= 0 else 128 - ended.code
        return supervise(command.supervise, rank, Path(command.run))
    if command.mode is Mode.check:
        from pretrain.check import check

        return check(command.of_the_run)
    from pretrain.train import pretrain

    pretrain(command.of_the_run)
    return None


def supervises(options: SupervisionConfig) -> bool:
    """Whether this process is the supervisor. Raises `UserError` for options that nobody would follow."""
    if started_here() or options == SupervisionConfig():
        return False
    if "RANK" in os.environ:
        raise UserError(
            "supervise.* starts ranks itself, and this is a rank already (RANK is set). Use python in place of "
            "deepspeed or torchrun, or leave supervise.* out."
        )
    if not options.ranks:
        raise UserError("supervise.* needs supervise.ranks=N: the ranks to start and to watch.")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """The doorway's exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return doorway("pretrain", PretrainCommand, partial(run, given), __doc__, given)


if __name__ == "__main__":
    sys.exit(main())
