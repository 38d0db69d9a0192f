"""Configuration -> DeepSpeed engine, on a GPU cluster, one GPU, or the CPU of a laptop.

    process group (nccl or gloo), device, precision, AdamW, ZeRO stage; the learning rate of a step
The learning rate is a function of (configuration, step) that is set before each step: no scheduler, whose state would
stand still at a step that was refused. A gradient that is not finite changes nothing on any stage and dtype:

    no ZeRO, float32 and bfloat16    AdamW itself refuses it, on the device, see pretrain/gradients.py
    ZeRO 1 to 3                      DeepSpeed finds it in the norm over all ranks, and skips the step

DeepSpeed's defaults that would surprise are set here and nowhere else: gradient clipping (1.0 when unset),
overlapped communication (off: NaN races were reported), its throughput timer (off: it waits for the device twice a
step), its own optimizers (never built: they compile for minutes), its shared-memory collective for CPUs (the same).
"""

import math
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from pretrain.config import Precision, TrainConfig
from pretrain.gradients import CarefulAdamW, without_questions
from sharding.errors import Ended, UserError

COSINE_FLOOR = 0.1
"""Final learning rate, as a part of the peak."""
PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others in a collective, at least."""


def join(train: TrainConfig) -> torch.device:
    """Start or join the process group and return this rank's device.

    Works under `deepspeed`, `torchrun`, Slurm's variables set by hand, or alone.
    """
    cuda = torch.cuda.is_available()
    if not cuda:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "RANK" not in os.environ:  # alone: without these, DeepSpeed looks for MPI and dies
        alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
        os.environ.update(alone | {"MASTER_PORT": str(_free_port())})
    world, local = int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0"))
    if train.batch % world:
        raise UserError(f"train.batch={train.batch} molecules cannot be shared equally by {world} ranks.")
    if not cuda and "OMP_NUM_THREADS" not in os.environ:  # ranks that share cores must not fight for them
        here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // here))
    if cuda:
        torch.cuda.set_device(local)
    deepspeed = _deepspeed()
    if not dist.is_initialized():
        deepspeed.init_distributed(
            dist_backend="nccl" if cuda else "gloo", verbose=False, timeout=patience(train)
        )
    return torch.device("cuda", local) if cuda else torch.device("cpu")


@contextmanager
def joined(train: TrainConfig) -> Iterator[torch.device]:
    """`join`; and leave the process group when the work ends, or is `Ended` on all ranks, if it was started here.

    After any other error the ranks may be anywhere: to part would be to wait for them.
    """
    here = not dist.is_initialized()
    device = join(train)
    ended = None
    try:
        yield device
    except Ended as error:
        ended = error
    if here:
        _deepspeed().comm.destroy_process_group()
    if ended is not None:
        raise ended


def build_engine(model: nn.Module, train: TrainConfig, device: torch.device) -> Any:
    """The DeepSpeed engine around the model. Its learning rate is 0 until `set_learning_rate`."""
    groups = list(_groups(model, train.weight_decay))
    # fused: one kernel for all parameters, and one that can refuse a step; on a CPU too
    optimizer = (
        torch.optim.AdamW(groups, lr=0.0, fused=True)
        if train.zero_stage
        else CarefulAdamW(groups, train.gradient_clipping)
    )
    engine, *_ = _deepspeed().initialize(
        model=model.to(device),
        optimizer=optimizer,
        config=deepspeed_config(train, dist.get_world_size(), device),
    )
    for state in optimizer.state.values():
        state[
            "step"
        ].zero_()  # in bfloat16 without ZeRO, DeepSpeed makes a step of zeros to try the optimizer
    if not train.zero_stage and engine.bfloat16_enabled():
        without_questions(engine.optimizer)
    return engine


def set_learning_rate(engine: Any, step: int, train: TrainConfig) -> float:
    """Of the step that comes, counted from 1."""
    rate = train.learning_rate * learning_rate_factor(step - 1, train)
    for group in engine.basic_optimizer.param_groups:
        group["lr"] = rate
    return rate


def patience(train: TrainConfig) -> timedelta:
    """How long a collective may take: the watchdog is to say where everybody stands before torch gives up."""
    return max(PATIENCE, 2 * timedelta(seconds=train.hang_s))


def deepspeed_config(train: TrainConfig, world: int, device: torch.device) -> dict[str, Any]:
    """What DeepSpeed is told; nothing is left to its defaults that changes the mathematics."""
    return {
        "train_micro_batch_size_per_gpu": train.batch // world,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": train.gradient_clipping if train.zero_stage else 0.0,
        "bf16": {"enabled": bfloat16(train.precision, device), "check_grad_overflow": True},
        "zero_optimization": {"stage": train.zero_stage, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31 - 1,
        "timers": {"throughput": {"enabled": False}},
    }


def bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether the encoders run in bfloat16 here."""
    if precision is Precision.auto:
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision is Precision.bfloat16


def learning_rate_factor(step: int, train: TrainConfig) -> float:
    """Part of the peak at a step, from 0: linear warm-up, then a cosine from 1 to `COSINE_FLOOR`."""
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    done = min(1.0, (step - train.warmup_steps) / max(1, train.steps - train.warmup_steps))
    return COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + math.cos(math.pi * done)) / 2


def _groups(model: nn.Module, weight_decay: float) -> Iterator[dict[str, Any]]:
    """Matrices decay; biases, norms, single vectors and the temperature do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    yield {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay}
    yield {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0}


def _deepspeed() -> Any:
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel("ERROR")
    # DeepSpeed's own calls under ZeRO, which a user cannot mend
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    # private, hence guarded: where the table changes, DeepSpeed builds its CPU collective once, in a minute
    compatible = getattr(deepspeed.ops, "__compatible_ops__", None)
    if isinstance(compatible, dict):
        compatible["deepspeed_shm_comm"] = False
    return deepspeed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
