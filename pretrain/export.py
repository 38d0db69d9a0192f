"""A run's checkpoint becomes an encoder folder.

    run/checkpoints/step-<n>, run/config.yaml, the shards' tokenizers  ->  Encoder, saved with its model card
Weights are float32, gathered from whatever ZeRO stage wrote them; loading needs no DeepSpeed.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pretrain import checkpoint
from pretrain.config import ExportConfig, LossConfig, ModelConfig, PretrainConfig
from pretrain.encoder import Encoder, build, describe_encoder
from pretrain.huggingface import save_huggingface
from sharding.config import record_config
from sharding.errors import UserError
from sharding.files import write_bytes
from sharding.read import Shards


def export(config: ExportConfig) -> Encoder:
    """Write the encoder folder and return the encoder."""
    run, output = Path(config.run), Path(config.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"output {output} holds something. Give a new folder.")
    step = _choose(run, config.step)
    options: Any = OmegaConf.merge(OmegaConf.structured(PretrainConfig), OmegaConf.load(run / "config.yaml"))
    model, loss = ModelConfig(**options.model), LossConfig(**options.loss)
    shards = Shards(Path(options.data))
    # what an encoder reads needs no skeleton: it only tells molecules of a batch apart
    record = replace(record_config(shards.manifest["settings"]["record"]), skeleton=False)
    about = describe_encoder(
        model,
        loss,
        record,
        shards.tokenizers,
        _origin(run, step, options, shards),
    )
    module = build(about, shards.tokenizers)
    module.load_state_dict(checkpoint.weights(run / "checkpoints" / f"step-{step}"))
    encoder = Encoder(module.eval(), shards.tokenizers, record, about)
    if config.huggingface:
        save_huggingface(encoder, output / "huggingface")
    encoder.save(output)
    write_bytes(output / "README.md", model_card(about).encode())
    return encoder


def _choose(run: Path, step: int) -> int:
    """The step to export, or `UserError` with the steps that there are."""
    folder = run / "checkpoints"
    if not (run / "config.yaml").is_file():
        raise UserError(
            f"{run} is no pretraining run (no config.yaml). Give the run=... of launch/pretrain.py."
        )
    there = checkpoint.steps(folder)
    if step and step not in there:
        raise UserError(f"{folder} has no step {step}. It has: {', '.join(map(str, there)) or 'none yet'}.")
    found = step or checkpoint.newest(folder)
    if not found:
        raise UserError(f"{folder} has no complete checkpoint yet. Let launch/pretrain.py reach one first.")
    return found


def _origin(run: Path, step: int, options: Any, shards: Shards) -> dict[str, Any]:
    """Where the weights come from, and what they scored."""
    lines = (
        (run / "evaluation.jsonl").read_text().splitlines() if (run / "evaluation.jsonl").is_file() else []
    )
    evaluations = [entry for entry in map(json.loads, lines) if entry["step"] <= step]
    kept = ("step", "chance", "gallery", "graph_recall_at_1", "text_recall_at_1")
    return {
        "steps": step,
        "batch": options.train.batch,
        "molecules": shards.manifest["n_ok"],
        "shards": shards.fingerprint,
        "evaluation": {k: v for k, v in evaluations[-1].items() if k in kept} if evaluations else None,
    }


def model_card(about: dict[str, Any]) -> str:
    """The folder's README: what it is, how to use it, what it scored, what it is not for."""
    origin, evaluation = about["origin"], about["origin"]["evaluation"]
    scores = "Not evaluated."
    if evaluation:
        rows = [
            f"| {stream} | {evaluation[f'{stream}_recall_at_1']:.3f} | {evaluation['chance']:.5f} |"
            for stream in ("graph", "text")
            if f"{stream}_recall_at_1" in evaluation
        ]
        scores = "\n".join(
            [
                f"Each of {evaluation['gallery']:,.0f} held-out molecules looks for its other view among all of "
                f"them (step {evaluation['step']:,}, mean of both directions):",
                "",
                "| stream | recall@1 | chance |",
                "|---|---|---|",
                *rows,
            ]
        )
    sizes = "\n".join(f"| {name} | {value} |" for name, value in about["model"].items())
    return f"""# A molecular encoder, pretrained from two viewpoints

Made by molparallax. {about["streams"].capitalize()} contrastive streams, temperature {about["temperature"]},
{origin["steps"]:,} steps of {origin["batch"]:,} molecules, from {origin["molecules"]:,} distinct molecules
(shards {origin["shards"][:12]}).

## Use
```python
from pretrain.encoder import Encoder

vectors, rejected = Encoder.from_pretrained("this/folder").embed(["CCO", "c1ccccc1"])  # one array a view
```
```
python launch/finetune.py encoder=this/folder table=molecules.csv targets=[y] task=regression run=runs/y
```

## Held-out retrieval
{scores}

## Sizes
| option | value |
|---|---|
{sizes}

## Limits
Trained on molecules of at most {about["record"]["max_atoms"]} heavy atoms, without 3D structure. Views are
vectors before the projection heads. Embeddings say nothing about safety or activity by themselves.
"""
