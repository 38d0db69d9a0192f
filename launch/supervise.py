"""A run whose ranks die goes on: they are started again from the newest checkpoint, or it is said why not.

    SupervisionConfig, command of a rank, run folder  ->  exit code

    the first rank's end                what follows
    0                                   done
    2, 3, 130                           the rank has said why; the same again would end the same
    75, or any end after a signal       stopped; the same command goes on
    1, 124, a signal                    restart, after a pause, up to `restarts` times
Three restarts in a row that reached no newer checkpoint than the attempt before end it too: what fails at the same
place each time is no accident.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.config import SupervisionConfig
from launch.ranks import BAD_NUMBERS, FORWARDED, SAVED, Ending, Signals, attempt
from sharding.errors import Ended

MISTAKE, HUNG, INTERRUPTED = 2, 124, 130
ORDERLY = (0, MISTAKE, BAD_NUMBERS, SAVED, INTERRUPTED)
"""Exit codes of a rank that are the run's at once."""
NO_USE = 3
"""Restarts in a row that got no further, after which there is no other."""
LONGEST_PAUSE_S = 60.0


def supervise(config: SupervisionConfig, command: Sequence[str], run: Path) -> int:
    """Run `command` as ranks until the run is done, cannot go on, or is stopped: the exit code.

    Raises `Ended` when it is this process that has to say why, and not a rank that has said it.
    """
    restarts = in_vain = 0
    reached = newest(run)
    with Signals() as signals:
        while True:
            ending = attempt(command, config.ranks, signals, config.grace_s)
            before, reached = reached, newest(run)
            if ending.code in ORDERLY or (signals.stopped_by and ending.code > 0):
                return ending.code
            if signals.stopped_by:
                raise _stopped(signals.stopped_by, reached, in_time=-ending.code in FORWARDED)
            in_vain = 0 if reached > before else in_vain + (restarts > 0)
            if restarts == config.restarts or in_vain == NO_USE:
                raise _given_up(ending, restarts, in_vain, reached)
            restarts += 1
            pause_s = min(LONGEST_PAUSE_S, config.pause_s * 2**in_vain)
            again = f"restart {restarts} of {config.restarts} in {pause_s:g} s"
            print(f"supervise: {described(ending)}; {again}, {_from(reached)}", file=sys.stderr, flush=True)
            signals.wait(pause_s)
            if signals.stopped_by:
                raise _stopped(signals.stopped_by, reached, in_time=True)


def newest(run: Path) -> int:
    """Step of the newest published checkpoint; 0 when there is none. Whether it is whole, the ranks find out."""
    found = (run / "checkpoints").glob("step-*/MANIFEST.json")
    return max((int(file.parent.name.removeprefix("step-")) for file in found), default=0)


def described(ending: Ending) -> str:
    """`rank 1 was ended by SIGKILL`, with what the number does not say."""
    if ending.code == HUNG:
        return f"rank {ending.rank} hung (exit code {HUNG})"
    if ending.code >= 0:
        return f"rank {ending.rank} ended with exit code {ending.code}"
    name = signal.Signals(-ending.code).name
    cause = " (by hand, or because memory ran out)" if name == "SIGKILL" else ""
    return f"rank {ending.rank} was ended by {name}{cause}"


def _stopped(by: signal.Signals, reached: int, *, in_time: bool) -> Ended:
    """After a signal that no rank has answered by an exit code: it was only starting, or had to be killed."""
    goes_on = f"the same command goes on {_from(reached)}"
    if not in_time:
        return Ended(f"{by.name}: ranks did not leave within supervise.grace_s and were killed; {goes_on}", 1)
    return Ended(
        f"{by.name}: stopped before there was anything new to save; {goes_on}",
        SAVED if reached else INTERRUPTED,
    )


def _given_up(ending: Ending, restarts: int, in_vain: int, reached: int) -> Ended:
    why = f"after {restarts} of supervise.restarts={restarts}"
    if in_vain == NO_USE:
        why = f"and {NO_USE} restarts in a row got no further"
    code = ending.code if ending.code > 0 else 128 - ending.code  # as a shell shows a signal
    return Ended(
        f"{described(ending)}, {why}. Its cause is above; the same command goes on {_from(reached)}", code
    )


def _from(step: int) -> str:
    return f"from the checkpoint of step {step:,}." if step else "from the start."
