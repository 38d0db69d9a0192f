"""Real processes for tests of distributed code: gloo, meeting through a file.

    results = run_ranks(function, 4, tmp_path, "an argument")   # function(rank, world, "an argument")

`function` is at the top level of a module that a fresh interpreter can import by name. Test modules are
not (pytest's importlib mode gives them private names), so it lives beside them, as in tests/ntxent/ranks.py.
"""

import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

PATIENCE = timedelta(seconds=180)
"""How long a rank waits for the others before it calls the collective failed, instead of hanging."""


def run_ranks(function: Callable[..., Any], world: int, tmp_path: Path, *args: Any) -> list[Any]:
    """`function(rank, world, *args)` in `world` processes of one gloo group; what they return, by rank.

    An exception in a rank ends the others and is raised here, with that rank's traceback in its text.
    Each process has one thread. They are forked from a server that has imported what takes ten seconds, and done
    nothing else; it has the environment of its own start. Results travel through torch.save, so tensors arrive
    bit for bit.
    """
    meeting = Path(tempfile.mkdtemp(prefix="ranks-", dir=tmp_path))  # a rendezvous file serves only once
    try:
        multiprocessing.set_forkserver_preload(["pretrain.train", "deepspeed"])
        torch.multiprocessing.start_processes(
            _rank, (function, world, meeting, args), nprocs=world, start_method="forkserver"
        )
    except (ProcessRaisedException, ProcessExitedException) as failure:
        # Spawn reports whichever process it saw end first, often one that merely lost its connection.
        told = sorted(meeting.glob("*.failed"), key=lambda note: int(note.stem))
        raise RuntimeError(told[0].read_text() if told else str(failure)) from failure
    return [torch.load(meeting / f"{rank}.pt", weights_only=False) for rank in range(world)]


def _rank(rank: int, function: Callable[..., Any], world: int, meeting: Path, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # some containers cannot resolve their own name
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting / 'rendezvous'}", rank=rank, world_size=world, timeout=PATIENCE
    )
    try:
        torch.save(function(rank, world, *args), meeting / f"{rank}.pt")
        dist.barrier()  # nobody leaves while another still talks to it
    except BaseException:
        # Named by the time, which all processes of a machine share: the first to fail is the cause.
        (meeting / f"{time.monotonic_ns()}.failed").write_text(f"rank {rank}:\n{traceback.format_exc()}")
        raise
    finally:
        dist.destroy_process_group()
