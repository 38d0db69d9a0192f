"""A small random encoder and small real tables, shared by the tests of the fine-tuning room."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from finetune.config import FinetuneConfig, Fusion, Modality, SplitKind, Task
from finetune.job import finetune
from pretrain.config import LossConfig, ModelConfig, Streams
from pretrain.encoder import Encoder, build, describe_encoder
from sharding.config import RecordConfig
from sharding.tokens import Tokenizers

DATA = Path(__file__).parents[1] / "data"
TINY = ModelConfig(
    graph_hidden=16,
    global_heads=2,
    text_hidden=16,
    text_heads=2,
    text_layers=1,
    text_feedforward=32,
    projection=8,
)


def _encoder(folder: Path, streams: Streams) -> Path:
    torch.manual_seed(7)
    tokenizers, record, loss = Tokenizers.load(), RecordConfig(), LossConfig(streams=streams)
    described = describe_encoder(TINY, loss, record, tokenizers, {"run": "none: random weights"})
    Encoder(build(described, tokenizers), tokenizers, record, described).save(folder)
    return folder


@pytest.fixture(scope="session")
def graph_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, the two graph views: the quick one."""
    return _encoder(tmp_path_factory.mktemp("graph") / "encoder", Streams.graph)


@pytest.fixture(scope="session")
def four_views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, all four views."""
    return _encoder(tmp_path_factory.mktemp("four") / "encoder", Streams.both)


def rows_of(path: Path) -> list[dict[str, str]]:
    """A CSV's rows by column."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    """A CSV of these rows."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def esol(tmp_path: Path) -> Path:
    """160 molecules of ESOL, spread over the set."""
    return write_rows(tmp_path / "esol.csv", rows_of(DATA / "esol.csv")[::7][:160])


@pytest.fixture
def bbbp(tmp_path: Path) -> Path:
    """160 molecules of BBBP, spread over the set; both classes."""
    return write_rows(tmp_path / "bbbp.csv", rows_of(DATA / "bbbp.csv")[::12][:160])


@pytest.fixture
def configured(tmp_path: Path, graph_encoder: Path, esol: Path) -> Callable[..., FinetuneConfig]:
    """A quick regression on ESOL; any option can be said otherwise."""

    def make(**options: object) -> FinetuneConfig:
        given = {
            "encoder": str(graph_encoder),
            "table": str(esol),
            "targets": ["log_solubility"],
            "task": Task.regression,
            "run": str(tmp_path / "run"),
            "epochs": 4,
            "hidden": 16,
            "modalities": [Modality.graph],
            "fusion": Fusion.concatenation,
            **options,
        }
        return FinetuneConfig(**given)  # type: ignore[arg-type]

    return make


def random_split_run(encoder: Path, folder: Path, table: Path, **options: object) -> Path:
    """A quick model of graphs; a random split with large parts to calibrate and to test."""
    finetune(
        FinetuneConfig(
            encoder=str(encoder), table=str(table), run=str(folder / "run"), split=SplitKind.random,
            fractions=[0.3, 0.3, 0.4], modalities=[Modality.graph], epochs=3, hidden=16,
            fusion=Fusion.concatenation, **options,
        )
    )  # fmt: skip
    return folder / "run"


@pytest.fixture(scope="session")
def esol_run(graph_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ESOL, finished."""
    options = {"targets": ["log_solubility"], "task": Task.regression}
    return random_split_run(graph_encoder, tmp_path_factory.mktemp("esol"), DATA / "esol.csv", **options)


@pytest.fixture(scope="session")
def bbbp_run(graph_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of BBBP, finished."""
    folder = tmp_path_factory.mktemp("bbbp")
    table = write_rows(folder / "bbbp.csv", rows_of(DATA / "bbbp.csv")[::2])
    options = {"targets": ["p_np"], "task": Task.classification}
    return random_split_run(graph_encoder, folder, table, **options)
