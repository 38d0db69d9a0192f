"""Configuration -> DeepSpeed engine, on a GPU cluster, one GPU, or the CPU of a laptop.

    process group (nccl or gloo), device, precision, AdamW with warm-up and cosine, ZeRO stage
DeepSpeed's defaults that would surprise are set here and nowhere else: gradient clipping (1.0 when unset),
overlapped communication (off: NaN races were reported), its own optimizers (never built: they compile for
minutes), its shared-memory collective for CPUs (the same).
"""

import math
import os
import socket
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from pretrain.config import Precision, TrainConfig
from sharding.errors import UserError

COSINE_FLOOR = 0.1
"""Final learning rate, as a part of the peak."""


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
        deepspeed.init_distributed(dist_backend="nccl" if cuda else "gloo", verbose=False)
    return torch.device("cuda", local) if cuda else torch.device("cpu")


def build_engine(model: nn.Module, train: TrainConfig, device: torch.device) -> Any:
    """The DeepSpeed engine around the model."""
    optimizer = torch.optim.AdamW(list(_groups(model, train.weight_decay)), lr=train.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, train))
    engine, *_ = _deepspeed().initialize(
        model=model.to(device),
        optimizer=optimizer,
        lr_scheduler=schedule,
        config=deepspeed_config(train, dist.get_world_size(), device),
    )
    return engine


def deepspeed_config(train: TrainConfig, world: int, device: torch.device) -> dict[str, Any]:
    """What DeepSpeed is told; nothing is left to its defaults that changes the mathematics."""
    return {
        "train_micro_batch_size_per_gpu": train.batch // world,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": train.gradient_clipping,
        "bf16": {"enabled": bfloat16(train.precision, device)},
        "zero_optimization": {"stage": train.zero_stage, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31 - 1,
    }


def bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether the encoders run in bfloat16 here."""
    if precision is Precision.auto:
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision is Precision.bfloat16


def learning_rate_factor(step: int, train: TrainConfig) -> float:
    """Part of the peak at a step: linear warm-up, then a cosine from 1 to `COSINE_FLOOR`."""
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
