"""A run's folder: what stands in it, what a resume cuts, and what must never stand in it."""

import json
import math
import subprocess
from importlib.util import find_spec

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pretrain.config import EvaluationConfig, PretrainConfig, TrainConfig
from pretrain.record import Record, strict
from pretrain.trackers import check_trackers
from sharding.errors import UserError
from tests.distributed import run_ranks
from tests.pretrain import measuring_ranks, ranks

CANARIES = {
    "OPENAI_API_KEY": "canary-1-b52f0c",
    "WANDB_API_KEY": "canary-2-77a1e9",
    "DATABASE_PASSWORD": "canary-3-p@ss/word",
    "PRIVATE_KEY": "-----BEGIN\ncanary-4-in-several-lines-d41d8c\n-----END",
}
STREAMS = ("graph", "text")


def hits(run):
    """Files with a part of a secret in their bytes or their name."""
    parts = [part for value in CANARIES.values() for part in value.splitlines() if "canary" in part]
    parts += ["p%40ss", "p@ss"]
    assert len(parts) == 6
    return [
        (str(file), part)
        for file in run.rglob("*")
        for part in parts
        if part in str(file.relative_to(run)) or (file.is_file() and part.encode() in file.read_bytes())
    ]


def lines(run, name):
    """As strict JSON."""

    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    return [
        json.loads(line, parse_constant=refuse) for line in (run / f"{name}.jsonl").read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def canary_run(shards_folder, zinc, tmp_path_factory):
    """Two steps, then a third one after a kill; secrets in the environment, the command, an option and the patch."""
    folder = tmp_path_factory.mktemp("secrets")
    room = folder / CANARIES["OPENAI_API_KEY"]  # in the path of a table, which is an option's value
    room.mkdir()
    table = room / "probe.csv"
    table.write_text("smiles,y\n" + "".join(f"{smiles},{k % 5}\n" for k, smiles in enumerate(zinc[:30])))
    source = folder / "source" / "code.py"
    source.parent.mkdir()
    source.write_text("one\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "--quiet"], ["add", "code.py"], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *words], cwd=source.parent, check=True)
    source.write_text("\n".join(f"{name} = '''{value}'''" for name, value in CANARIES.items()))
    (source.parent / CANARIES["WANDB_API_KEY"]).write_text("a file of such a name")

    runs = []
    for steps in (2, 3):
        options = ranks.config(str(shards_folder), str(folder / "run"), steps=steps, save_every=2)
        options.evaluation = EvaluationConfig(held_out=32, probe=str(table), probe_target="y")
        runs.append(options)
    command = [
        "pretrain.py",
        f"data=s3://me:{CANARIES['DATABASE_PASSWORD']}@host/x",
        f"wandb={CANARIES['WANDB_API_KEY']}",
    ]
    run_ranks(measuring_ranks.run_with_secrets, 1, folder, runs, CANARIES, command, source)
    return folder / "run"


def test_no_secret_is_written(canary_run):
    """Every byte of every file, names included: TensorBoard's and the checkpoints' too."""
    assert {"uncommitted.patch", "environment.json", "config.yaml"} <= {
        file.name for file in canary_run.iterdir()
    }
    assert hits(canary_run) == []
    # and yet what they stood in is there
    assert "[redacted]" in (canary_run / "uncommitted.patch").read_text()
    record = json.loads((canary_run / "environment.json").read_text())
    assert record["command"] == ["pretrain.py", "data=s3://[redacted]@host/x", "wandb=[redacted]"]
    assert record["uncommitted"] is True
    assert len(record["commit"]) == 40
    assert OmegaConf.load(canary_run / "config.yaml").evaluation.probe.endswith("[redacted]/probe.csv")


def test_the_lines_of_a_run(canary_run):
    """Whole and in order, after a start that left torn lines and a step that it never made."""
    metrics, evaluation, histograms = (
        lines(canary_run, name) for name in ("metrics", "evaluation", "histograms")
    )
    assert [line["step"] for line in metrics] == [1, 2, 3]
    assert [line["step"] for line in evaluation] == [line["step"] for line in histograms] == [0, 2, 3]
    views = ("local", "global", "smiles", "text")
    for line in metrics:
        assert set(line) == {
            *(
                "step",
                "loss",
                "graph_loss",
                "text_loss",
                "chance",
                "molecules_per_s",
                "tokens_per_s",
                "flops_per_s",
            ),
            *(
                "data_wait",
                "memory_gb",
                "skipped",
                "seconds",
                "learning_rate",
                "temperature",
                "gradient_norm",
            ),
            *(f"gradient_norm_{view}" for view in views),
        } | ({"mfu"} & set(line))
    seconds = [line["seconds"] for line in metrics]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    for line in evaluation:
        for stream in STREAMS:
            for metric in ("positive_cosine", "negative_cosine", "alignment", "uniformity", "effective_rank"):
                assert f"{stream}_{metric}" in line
            for k in (1, 5, 10):
                assert {f"{stream}_recall_at_{k}{way}" for way in ("", "_forth", "_back")} <= set(line)
        assert line["probe_metric"] == "r2"
        assert line["seconds"] > 0
    for line in histograms:
        assert len(line["edges"]) == 65
        for stream in STREAMS:
            assert sum(line[f"{stream}_positive"]) == 32
            assert sum(line[f"{stream}_negative"]) == 32 * 31
    assert lines(canary_run, "changes")[0]["changes"]["train.steps"] == [2, 3]


def test_tensorboard_has_curves_and_histograms(canary_run):
    board = EventAccumulator(str(canary_run / "tensorboard")).Reload()
    assert {event.step for event in board.Scalars("metrics/loss")} == {1, 2, 3}
    assert {"evaluation/graph_recall_at_1", "evaluation/probe"} <= set(board.Tags()["scalars"])
    assert {"histograms/graph_positive", "histograms/text_negative"} <= set(board.Tags()["histograms"])
    assert board.Histograms("histograms/graph_positive")[0].histogram_value.num == 32


def begun(run, step, **train):
    """A record that begins at a step, closed."""
    record = Record(run, enabled=True)
    told = record.begin(PretrainConfig(data="shards", run=str(run), train=TrainConfig(**train)), {}, step)
    record.close()
    return record, told


def test_a_resume_cuts_what_came_after_it(tmp_path):
    run = tmp_path / "run"
    begun(run, 0)
    (run / "skipped").mkdir()
    for step in (2, 6):
        (run / "skipped" / f"step-{step}.csv").write_text("rank,id\n")
    for name in ("metrics", "evaluation", "histograms", "skipped"):
        text = "".join(json.dumps({"step": step, "seconds": step / 2}) + "\n" for step in (2, 4, 6))
        (run / f"{name}.jsonl").write_text(text + '["no line of ours"]\n{"step": 3, "lo')
    record, told = begun(run, 4, batch=64)
    for name in ("metrics", "evaluation", "histograms", "skipped"):
        assert [line["step"] for line in lines(run, name)] == [2, 4]
    assert [file.name for file in (run / "skipped").iterdir()] == ["step-2.csv"]
    assert record.seconds == 2.0
    assert told == ["train.batch = 64 (default 1024)", "train.batch = 64 (before 1024)"]
    begun(run, 0)  # killed before its first checkpoint: it begins anew
    assert lines(run, "metrics") == []
    assert list((run / "skipped").iterdir()) == []


def test_a_number_that_is_none_is_null(tmp_path):
    record = Record(tmp_path, enabled=True)
    record.begin(PretrainConfig(data="shards", run=str(tmp_path)), {}, 0)
    record.write("metrics", {"step": 1, "loss": math.nan, "gradient_norm": math.inf, "skipped": 3})
    record.close()
    assert lines(tmp_path, "metrics") == [{"step": 1, "loss": None, "gradient_norm": None, "skipped": 3}]
    assert strict({"a": [1.5, -math.inf, "b"]}) == {"a": [1.5, None, "b"]}


def test_only_the_first_rank_writes(tmp_path):
    record = Record(tmp_path / "run", enabled=False)
    assert record.begin(PretrainConfig(data="shards", run=str(tmp_path)), {}, 0) == []
    record.write("metrics", {"step": 1})
    record.close()
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_weights_and_biases_must_be_installed(tmp_path, monkeypatch):
    """A folder of that name, which its library leaves behind, is not it."""
    for _ in range(2):
        with pytest.raises(UserError, match="pip install wandb"):
            check_trackers("molecules")
        (tmp_path / "wandb").mkdir(exist_ok=True)
        monkeypatch.syspath_prepend(tmp_path)
    check_trackers("")


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    """Its own library, in the run folder: the numbers are there, the secrets are not."""
    wandb = pytest.importorskip("wandb", reason="pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    canary = CANARIES["OPENAI_API_KEY"]
    monkeypatch.setattr("sys.argv", ["pretrain.py", f"wandb={canary}"])
    config = PretrainConfig(data=f"/data/{canary}", run=str(tmp_path / "run"), wandb="molecules")
    for step in (0, 1):
        record = Record(tmp_path / "run", enabled=True)
        record.begin(config, {}, step)
        record.write("metrics", {"step": step + 1, "loss": 1.5})
        record.write("histograms", {"step": step + 1, "edges": [-1.0, 0.0, 1.0], "graph_positive": [1, 2]})
        record.close()
    wandb.teardown()  # its own process writes, and has written when it is gone
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    stored = [file for file in files if file.suffix == ".wandb"]
    assert len(stored) == 2
    assert all(b"metrics/loss" in file.read_bytes() for file in stored)
    assert hits(tmp_path / "run") == []
