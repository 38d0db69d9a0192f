"""What ranks tell each other about a checkpoint: small values over the CPU, and a mistake that ends them all."""

from typing import Any, TypeVar

import torch.distributed as dist

from sharding.errors import SharedMistake

Value = TypeVar("Value")


def cpu_group() -> Any:
    """A group that talks over the CPU, so that agreeing does not wait for the device. Every rank calls it."""
    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")


def gather(value: Value, group: Any = None) -> list[Value]:
    """Every rank's value, by rank."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value, group=group)
    return found


def from_first(value: Value, group: Any = None) -> Value:
    """The first rank's value: others may see a shared file system later."""
    found: list[Any] = [value]
    dist.broadcast_object_list(found, src=0, group=group)
    return found[0]


def refuse_together(what: str, mistake: str | None, advice: str, group: Any = None) -> None:
    """Raise on every rank when any of them has a mistake, naming the ranks; otherwise nothing."""
    told = [f"rank {rank}: {mistake}" for rank, mistake in enumerate(gather(mistake, group)) if mistake]
    if told:
        raise SharedMistake(f"{what}: {'; '.join(told)}. {advice}")
