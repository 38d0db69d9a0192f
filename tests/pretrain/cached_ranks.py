"""What each process does in the tests of batches beyond memory; importable, because spawned processes import it."""

import itertools
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pretrain.batch import Batch, collate, collate_chunks
from pretrain.boundary import Boundary
from pretrain.cached import embed, objective, one_reduction, push_back, refuse_stray
from pretrain.config import LossConfig, ModelConfig, SameMolecule, TrainConfig
from pretrain.engine import build_engine, join, patience
from pretrain.guard import Guard
from pretrain.memory import Memory
from pretrain.model import TwoStreams, Vocabularies
from pretrain.step import Outcome, seed_dropout, stream_losses, train_step
from sharding.columns import Molecules
from tests.pretrain.conftest import TINY
from tests.pretrain.ranks import config, molecules_vocabulary, train, train_until

Gradients = list[torch.Tensor]


def losses_of(chunks: Sequence[Batch]) -> Any:
    """As the trainer's step makes them."""
    return partial(stream_losses, ids=torch.cat([chunk.ids for chunk in chunks]), loss=LossConfig())


def one_graph(engine: Any, chunks: Sequence[Batch], seed: Callable[[int], None]) -> None:
    """All chunks forward with their graphs, one loss, one backward: what a cached step must equal."""
    parts = []
    for number, chunk in enumerate(chunks):
        seed(number)
        parts.append(engine(chunk))
    views = {view: torch.cat([part[view] for part, _ in parts]) for view in parts[0][0]}
    engine.backward(objective(losses_of(chunks)(views, parts[0][1])))


def cached(engine: Any, chunks: Sequence[Batch], seed: Callable[[int], None]) -> None:
    """The step under test, without the guard and the optimizer."""
    embedded = embed(engine, chunks, seed)
    derivative = embedded.derivative(objective(losses_of(chunks)(embedded.views, embedded.temperature)))
    with one_reduction(engine):
        stray = push_back(engine, chunks, seed, embedded, derivative)
    refuse_stray(stray.item())


def model_of(molecules: Molecules, dropout: float, dtype: torch.dtype) -> TwoStreams:
    """The real model at toy width, a learned temperature included."""
    torch.manual_seed(0)
    sizes = Vocabularies(*molecules_vocabulary(molecules))
    options = ModelConfig(**TINY | {"dropout": dropout, "text_layers": 1})
    return TwoStreams(options, LossConfig(learn_temperature=True), sizes).to(dtype)


def all_gradients(
    rank: int, world: int, molecules: Molecules, chunk: int
) -> dict[int, dict[str, tuple[Gradients, Gradients]]]:
    """By ZeRO stage, what this rank's optimizer is handed in float64: (of one graph, of a cached step)."""
    device = join(TrainConfig(batch=len(molecules)))
    share = len(molecules) // world
    mine = molecules.slice(rank * share, (rank + 1) * share)
    chunks, whole = collate_chunks(mine, chunk), collate_chunks(mine, 0)
    pairs: dict[str, tuple[float, list[Batch]]] = {
        "in the same chunks": (0.3, chunks),
        "never cut": (0.0, whole),
    }
    found: dict[int, dict[str, tuple[Gradients, Gradients]]] = {}
    for stage, (name, (dropout, batches)) in itertools.product(range(4), pairs.items()):
        if stage and name == "never cut":  # the chain rule, which is the same on every stage
            continue
        handed = []
        for backward, cut in ((one_graph, batches), (cached, chunks)):
            model = model_of(molecules, dropout, torch.float64)
            engine = float64_engine(model, stage, len(molecules), device)
            backward(engine, cut, partial(seed_dropout, 3, 1, rank))
            handed.append(handed_over(engine))
            engine.destroy()
        found.setdefault(stage, {})[name] = (handed[0], handed[1])
    return found


def float64_engine(model: TwoStreams, stage: int, batch: int, device: torch.device) -> Any:
    """`build_engine`, which DeepSpeed is told to keep in float64 from gradient to optimizer."""
    from deepspeed.accelerator import get_accelerator
    from deepspeed.runtime.engine import DeepSpeedEngine

    DeepSpeedEngine.get_data_types = lambda _: (torch.float64, torch.float64)
    get_accelerator().supported_dtypes = lambda: [torch.float32, torch.bfloat16, torch.float64]
    engine = build_engine(model, TrainConfig(batch=batch, zero_stage=stage), device)
    engine.communication_data_type = torch.float64
    if stage:
        buckets = engine.optimizer.ipg_buckets
        bucket = buckets[torch.float64] = buckets.pop(torch.float32)
        engine.optimizer.communication_data_type = torch.float64
        if stage == 3:
            bucket.buffer = torch.empty(len(bucket.buffer), dtype=torch.float64)
    return engine


def handed_over(engine: Any) -> Gradients:
    """The gradients that the optimizer of this rank is about to use: of all weights, or of its partition."""
    if engine.zero_optimization_stage() == 0:
        return [parameter.grad.clone() for parameter in engine.module.parameters()]
    return [gradient.clone() for group in engine.optimizer.averaged_gradients.values() for gradient in group]


def forgotten_seed(rank: int, world: int, molecules: Molecules) -> None:
    """A step whose dropout goes on where it was, instead of starting again."""
    device = join(TrainConfig(batch=2))
    model = model_of(molecules, 0.1, torch.float32)
    engine = build_engine(model, TrainConfig(batch=len(molecules)), device)
    cached(engine, collate_chunks(molecules, 4), lambda _: None)


def straight_and_resumed(rank: int, world: int, data: str, folder: str, options: dict[str, Any]) -> list[Any]:
    """A run in chunks without a stop, and one that ends after step 2 and goes on."""
    runs = [config(data, str(Path(folder) / name), {"dropout": 0.1}, **options) for name in ("a", "b")]
    straight = train(rank, world, runs[0])
    train_until(rank, world, runs[1], 2)
    return [straight, train(rank, world, runs[1])]


def saved_bytes(rank: int, world: int, molecules: Molecules, counts: Sequence[int]) -> list[dict[str, int]]:
    """The most that lives of what autograd saves in a step of so many equal chunks, cached or in one graph."""
    device = join(TrainConfig(batch=2))
    chunk = collate(molecules)
    model = model_of(molecules, 0.1, torch.float32)
    engine = build_engine(model, TrainConfig(batch=len(molecules), zero_stage=1), device)
    seed = partial(seed_dropout, 0, 0, 0)
    everybody = LossConfig(same_molecule=SameMolecule.none)  # equal chunks are equal molecules
    found = []
    for count in counts:
        peaks = {}
        with (saved := _Saved()):
            whole_step(engine, [chunk] * count, seed, everybody)
        peaks["cached"] = saved.most
        with (saved := _Saved()):
            one_graph(engine, [chunk] * count, seed)
        engine.step()
        peaks["one graph"] = saved.most
        found.append(peaks)
    engine.destroy()
    return found


def whole_step(engine: Any, chunks: list[Batch], seed: Callable[[int], None], loss: LossConfig) -> Outcome:
    """The trainer's step of these chunks, on one rank."""
    train = TrainConfig(batch=2)
    memory = Memory(engine, Boundary(patience(train)), sum(chunk.size for chunk in chunks), chunks[0].size)
    return train_step(engine, lambda _: chunks, seed, loss, Guard(train.spike, engine.device, 1), memory)


class _Saved(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes that autograd holds for a backward, as they come and go."""

    def __init__(self) -> None:
        self.now = self.most = 0
        super().__init__(self._pack, lambda held: held.tensor)

    def _pack(self, tensor: torch.Tensor) -> "_Held":
        held, size = _Held(tensor), tensor.numel() * tensor.element_size()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(held, self._free, size)
        return held

    def _free(self, size: int) -> None:
        self.now -= size


class _Held:
    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def masked_gradients(
    rank: int, world: int, molecules: Molecules, choices: Sequence[SameMolecule]
) -> list[tuple[torch.Tensor, Gradients]]:
    """Loss and gradients of the real model in float64 on this rank's molecules, averaged over ranks."""
    share = len(molecules) // world
    batch = collate(molecules.slice(rank * share, (rank + 1) * share))
    results = []
    for same in choices:
        model = model_of(molecules, 0.0, torch.float64)
        loss = objective(stream_losses(*model(batch), ids=batch.ids, loss=LossConfig(same_molecule=same)))
        loss.backward()
        found = [loss.detach().clone(), *(parameter.grad for parameter in model.parameters())]
        for tensor in found:
            dist.all_reduce(tensor)
            tensor /= world
        results.append((found[0], found[1:]))
    return results
