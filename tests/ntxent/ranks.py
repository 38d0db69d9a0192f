"""What one rank does in the tests with processes, importable by those that it starts."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pretrain.ntxent.agreement import agreement
from pretrain.ntxent.closed_form import ntxent_closed_form
from pretrain.ntxent.distributed import Ranks, gather
from pretrain.ntxent.kernel import ops
from tests.ntxent.cases import FORMS, loss_of, tiles_of, views

MOLECULES = 24  # divisible by 1, 2, 3 and 4 ranks
EDGE = 5  # of a tile; ragged in all of them

IDS = torch.arange(MOLECULES)
IDS[[0, 11, 13, 23]] = 99  # on both of 2 ranks and on three of 4
IDS[[6, 7]] = 98  # within one rank

CASES: list[dict[str, Any]] = [
    {"form": form, "implementation": implementation, "ids": ids}
    for form in FORMS
    for implementation in ("chunked", "reference")
    for ids in (None, IDS)
]


class Encoder(nn.Module):
    """A small model with a learnable temperature, equal in every process."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 7)).double()
        self.log_temperature = nn.Parameter(torch.tensor(-2.5, dtype=torch.float64))

    def forward(self, first: Tensor, second: Tensor, **options: Any) -> Tensor:
        temperature = self.log_temperature.exp()
        return loss_of(self.layers(first), self.layers(second), temperature, edge=EDGE, **options)


def molecules(count: int = MOLECULES) -> tuple[Tensor, Tensor]:
    """Two views of every molecule of the whole batch."""
    return views(n=count, d=6, noise=0.3, seed=4)


def step(first: Tensor, second: Tensor, **options: Any) -> dict[str, Tensor]:
    """The loss and the gradient of every parameter, the temperature's included."""
    model = Encoder()
    loss = model(first, second, **options)
    with tiles_of(EDGE):
        loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"loss": loss.detach(), **gradients}


def averaged(outcome: dict[str, Tensor], group: dist.ProcessGroup | None = None) -> dict[str, Tensor]:
    """The mean over ranks, as data parallelism takes it; what a lone process has."""
    if not dist.is_initialized():
        return outcome
    for value in outcome.values():
        dist.all_reduce(value, group=group)
        value /= dist.get_world_size(group)
    return outcome


def steps_on_my_share(rank: int, world: int) -> list[dict[str, Tensor]]:
    """One step on consecutive molecules, for each of the cases."""
    warnings.simplefilter("error")  # pytest's own filter does not reach this process
    share = slice(rank * MOLECULES // world, (rank + 1) * MOLECULES // world)
    mine = [view[share] for view in molecules()]
    return [
        averaged(step(*mine, **{**case, "ids": None if case["ids"] is None else case["ids"][share]}))
        for case in CASES
    ]


def step_alone_on_uneven_share(rank: int, world: int) -> dict[str, Tensor]:
    """Rank k has k + 2 molecules; a collective would fail or hang here."""
    return step(*(view[: rank + 2] for view in molecules()), negatives="this_rank")


def step_without_the_first(rank: int, world: int) -> tuple[dict[str, Tensor] | None, str]:
    """A group of all ranks but 0, which asks for their negatives too; then the group's own rank 1 errs."""
    group = dist.new_group(list(range(1, world)))
    share = [view[rank * 4 : rank * 4 + 4] for view in molecules()]
    if rank == 0:
        return None, refusal(lambda: step(*share, group=group))
    outcome = averaged(step(*share, group=group), group)
    return outcome, refusal(lambda: step(*share, group=group, form="moco" if rank == 2 else "clip"))


def rounded_on_my_share(rank: int, world: int) -> dict[str, Tensor]:
    """The loss of rows in bfloat16 by the kernel's operators, which a CPU computes in tiles."""
    share = slice(rank * MOLECULES // world, (rank + 1) * MOLECULES // world)
    leaves = [view[share].float().requires_grad_() for view in molecules()]
    tau = torch.tensor(0.1, requires_grad=True)
    ranks = Ranks(rank, world)
    loss = ntxent_closed_form(
        *leaves, tau, IDS[share], ranks, clip=True, products=ops, rounding=torch.bfloat16
    )
    loss.backward()
    of_views = [gather(leaf.grad / world, ranks).flatten(0, 1) for leaf in leaves if leaf.grad is not None]
    return {"views": torch.cat(of_views)} | averaged({"loss": loss.detach(), "temperature": tau.grad})


def one_molecule_each(rank: int, world: int) -> dict[str, Tensor]:
    """A batch of one has negatives once others bring theirs."""
    return step(*(view[rank : rank + 1] for view in molecules()))


def refusal(action: Callable[[], Any]) -> str:
    """The message of the ValueError that the action raises."""
    try:
        action()
    except ValueError as refused:
        return str(refused)
    return "no refusal"


def answers_to_faults(
    rank: int, world: int, faults: list[dict[str, Any]]
) -> tuple[list[tuple[str, float]], str]:
    """For each fault, which rank 1 commits: what this rank is told, after how many seconds; and one more."""
    proper = {"first": torch.ones(4, 3), "second": torch.ones(4, 3), "temperature": 0.1}
    answers = []
    for fault in faults:
        start = time.monotonic()
        message = refusal(lambda given=proper | (fault if rank == 1 else {}): loss_of(**given))
        answers.append((message, time.monotonic() - start))
    return answers, library_is_torn_on_rank_1(rank, world)


def library_is_torn_on_rank_1(rank: int, world: int) -> str:
    """No wrong argument, but nothing that the other ranks could go on without."""

    def attempt() -> None:
        with agreement(Ranks(rank, world)):
            if rank == 1:
                raise OSError("file too short")

    return refusal(attempt)


def all_of(rank: int, world: int, *functions: Callable[[int, int], Any]) -> list[Any]:
    """Several tests' work in one start of the processes, which costs more than the work."""
    return [function(rank, world) for function in functions]


def fail_on_the_last(rank: int, world: int) -> None:
    """One rank raises while the others wait for it."""
    if rank == world - 1:
        raise RuntimeError("this rank has had enough")
    dist.barrier()
