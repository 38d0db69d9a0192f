"""What one rank does in tests/ntxent/test_ranks.py, importable by the processes it starts."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from pretrain.ntxent import Negatives, ntxent_loss

MOLECULES = 24  # divisible by 1, 2, 3 and 4 ranks; a tile of 5 is ragged in all of them
CHUNK = 5


class Encoder(nn.Module):
    """A small model with a learnable temperature, equal in every process."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 7)).double()
        self.log_temperature = nn.Parameter(torch.tensor(-2.5, dtype=torch.float64))

    def forward(
        self, first: Tensor, second: Tensor, negatives: Negatives, group: ProcessGroup | None
    ) -> Tensor:
        first, second, temperature = self.layers(first), self.layers(second), self.log_temperature.exp()
        return ntxent_loss(first, second, temperature, negatives=negatives, group=group, chunk=CHUNK)


def molecules(count: int = MOLECULES) -> tuple[Tensor, Tensor]:
    """Two views of every molecule of the whole batch."""
    generator = torch.Generator().manual_seed(4)
    first = torch.randn(count, 6, dtype=torch.float64, generator=generator)
    return first, first + 0.3 * torch.randn(first.shape, dtype=torch.float64, generator=generator)


def step(
    first: Tensor, second: Tensor, negatives: Negatives = "everyone", group: ProcessGroup | None = None
) -> dict[str, Tensor]:
    """The loss and the gradient of every parameter, the temperature's included."""
    model = Encoder()
    loss = model(first, second, negatives, group)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"loss": loss.detach(), **gradients}


def step_on_my_share(rank: int, world: int) -> dict[str, Tensor]:
    """One step on consecutive molecules, averaged over ranks as data parallelism does."""
    warnings.simplefilter("error")  # pytest's own filter does not reach this process
    share = slice(rank * MOLECULES // world, (rank + 1) * MOLECULES // world)
    outcome = step(*(view[share] for view in molecules()))
    for value in outcome.values():
        dist.all_reduce(value)
        value /= world
    return outcome


def step_alone_on_uneven_share(rank: int, world: int) -> dict[str, Tensor]:
    """Rank k has k + 2 molecules; a collective would fail or hang here."""
    return step(*(view[: rank + 2] for view in molecules()), negatives="this_rank")


def step_without_the_first(rank: int, world: int) -> dict[str, Tensor] | str:
    """A group of all ranks but 0, which asks for their negatives too and is told that it may not."""
    group = dist.new_group(list(range(1, world)))
    share = [view[rank * 4 : rank * 4 + 4] for view in molecules()]
    if rank == 0:
        return refusal(lambda: step(*share, group=group))
    outcome = step(*share, group=group)
    for value in outcome.values():
        dist.all_reduce(value, group=group)
        value /= world - 1
    return outcome


def refusal(action: Callable[[], Any]) -> str:
    """The message of the ValueError that the action raises."""
    try:
        action()
    except ValueError as refused:
        return str(refused)
    return "no refusal"


def one_molecule_each(rank: int, world: int) -> dict[str, Tensor]:
    """A batch of one has negatives once others bring theirs."""
    return step(*(view[rank : rank + 1] for view in molecules()))


def ask_for_the_reference(rank: int, world: int) -> str:
    """What the dense form answers when it is asked for everyone's negatives."""
    return refusal(lambda: ntxent_loss(*molecules(), 0.1, implementation="reference"))


def all_of(rank: int, world: int, *functions: Callable[[int, int], Any]) -> list[Any]:
    """Several tests' work in one start of the processes, which costs more than the work."""
    return [function(rank, world) for function in functions]


def fail_on_the_last(rank: int, world: int) -> None:
    """One rank raises while the others wait for it."""
    if rank == world - 1:
        raise RuntimeError("this rank has had enough")
    dist.barrier()
