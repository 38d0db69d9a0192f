"""What each process of a distributed test does; importable, because spawned processes import it by name."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pretrain import checkpoint
from pretrain.batch import collate
from pretrain.config import EvaluationConfig as Evaluation
from pretrain.config import ExportConfig, LossConfig, ModelConfig, Negatives, PretrainConfig, TrainConfig
from pretrain.encoder import Encoder
from pretrain.engine import build_engine, join
from pretrain.export import export
from pretrain.model import STREAMS, TwoStreams, Vocabularies
from pretrain.ntxent import ntxent_loss
from pretrain.train import new_model, pretrain
from sharding.columns import Molecules, concatenate
from sharding.read import Shards
from tests.pretrain.conftest import TINY


def config(data: str, run: str, model: dict[str, Any] | None = None, **train: Any) -> PretrainConfig:
    """A short run at toy width."""
    options = {
        "batch": 16,
        "lanes": 4,
        "warmup_steps": 2,
        "log_every": 1,
        "head_start": 64,
        "learning_rate": 1e-3,
    }
    return PretrainConfig(
        data=data,
        run=run,
        model=ModelConfig(**TINY | {"text_layers": 1} | (model or {})),
        loss=LossConfig(learn_temperature=True),
        train=TrainConfig(**options | train),
        evaluation=Evaluation(held_out=32),
    )


def averaged_gradients(rank: int, world: int, molecules: Molecules) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the real model in float64 on this rank's molecules, averaged over ranks."""
    torch.manual_seed(0)
    sizes = Vocabularies(*molecules_vocabulary(molecules))
    model = TwoStreams(ModelConfig(**TINY), LossConfig(learn_temperature=True), sizes).double()
    share = len(molecules) // world
    projections, temperature = model(collate(molecules.slice(rank * share, (rank + 1) * share)))
    losses = [
        ntxent_loss(projections[a], projections[b], temperature=temperature) for a, b in STREAMS.values()
    ]
    loss = torch.stack(losses).mean()
    loss.backward()
    loss = loss.detach().clone()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    for tensor in [loss, *gradients.values()]:
        dist.all_reduce(tensor)
        tensor /= world
    return loss.item(), gradients


def molecules_vocabulary(molecules: Molecules) -> tuple[int, int]:
    """Large enough for these tokens."""
    return int(molecules.smiles_tokens.max()) + 1, int(molecules.text_tokens.max()) + 1


def train(rank: int, world: int, options: PretrainConfig) -> dict[str, Any]:
    """A whole run; its losses, last evaluation and the hash of rank 0's weights."""
    evaluation = pretrain(options)
    dist.barrier()
    lines = (Path(options.run) / "metrics.jsonl").read_text().splitlines()
    return {
        "evaluation": evaluation,
        "losses": [json.loads(line)["loss"] for line in lines],
        "steps": [json.loads(line)["step"] for line in lines],
        "weights": weights_hash(Path(options.run), options.train.steps),
    }


class Killed(Exception):
    """The end of a process right after it published a checkpoint."""


def train_until(rank: int, world: int, options: PretrainConfig, stop: int) -> dict[str, Any] | None:
    """`train`, killed after the checkpoint of step `stop` unless that is the last."""
    save = checkpoint.Saver.save

    def save_and_die(saver: checkpoint.Saver, step: int, state: dict[str, Any]) -> None:
        save(saver, step, state)
        if step == stop < options.train.steps:
            raise Killed

    checkpoint.Saver.save = save_and_die
    try:
        return train(rank, world, options)
    except Killed:
        return None
    finally:
        checkpoint.Saver.save = save


def weights_hash(run: Path, step: int) -> str:
    """SHA-256 over the float32 weights of a checkpoint."""
    digest = hashlib.sha256()
    for name, tensor in sorted(checkpoint.weights(run / "checkpoints" / f"step-{step}").items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def gradients_of_engine(rank: int, world: int, options: PretrainConfig) -> dict[str, torch.Tensor]:
    """The full gradients that DeepSpeed hands to the optimizer after one backward, by parameter."""
    from deepspeed.utils import safe_get_full_grad

    device = join(options.train)
    shards = Shards(Path(options.data))
    engine = build_engine(new_model(shards, options), options.train, device)
    molecules = concatenate([shards.read(ref) for ref in shards.blocks[:2]]).slice(0, 16)
    share = 16 // world
    projections, temperature = engine(collate(molecules.slice(rank * share, (rank + 1) * share)))
    losses = [
        ntxent_loss(
            projections[a], projections[b], temperature=temperature, negatives=Negatives.everyone.value
        )
        for a, b in STREAMS.values()
    ]
    engine.backward(torch.stack(losses).mean())
    found = {
        name: gradient.float().clone()
        for name, parameter in engine.module.named_parameters()
        if (gradient := safe_get_full_grad(parameter)) is not None
    }
    engine.destroy()
    return found


def exported_and_engine(rank: int, world: int, options: PretrainConfig, output: str) -> dict[str, float]:
    """Train, export, load again; the largest difference of embeddings and projections to the engine's, by view."""
    pretrain(options)
    if rank == 0:
        export(ExportConfig(run=options.run, output=output, huggingface=True))
    dist.barrier()
    shards = Shards(Path(options.data))
    engine = build_engine(new_model(shards, options), options.train, join(options.train))
    found = checkpoint.choose(Path(options.run) / "checkpoints")
    checkpoint.restore(engine, found, {"shards": shards.fingerprint})
    engine.eval()
    molecules = shards.read(shards.blocks[-1])
    with torch.no_grad():
        trained, _ = engine(collate(molecules))
    encoder = Encoder.load(output)
    with torch.no_grad():
        loaded, _ = encoder.model(collate(molecules))
    differences = {view: (trained[view] - loaded[view]).abs().max().item() for view in trained}
    engine.destroy()
    return differences
