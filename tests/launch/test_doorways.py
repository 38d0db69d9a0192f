"""The doorways as a user meets them: subprocesses, started from another directory."""

import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launch import entry, pretrain
from launch.entry import COMMANDS, options
from pretrain.config import PretrainConfig
from pretrain.encoder import Encoder

REPOSITORY = Path(__file__).parents[2]
SMALL = [
    *("train.batch=16", "train.lanes=4", "evaluation.held_out=32", "train.head_start=64", "train.steps=2"),
    *("model=small", "model.text_layers=1"),
]


def _run(*command, expect=0):
    """A command from `/`; its standard output. Fails with both outputs when the exit code is another."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        list(map(str, command)),
        cwd="/",
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
    return done


def _door(name, *arguments, expect=0):
    return _run(sys.executable, REPOSITORY / "launch" / f"{name}.py", *arguments, expect=expect)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(name):
    """Usage with an example, and every option with a meaning."""
    told = _door(name, "--help").stdout
    assert f"launch/{name}.py" in told
    assert "Options (key=value)" in told


def test_no_doorway_imports_a_heavy_library():
    """What all of them together import is what any of them may."""
    heavy = "torch", "rdkit", "ray", "deepspeed", "transformers", "pandas", "sklearn", "matplotlib"
    doors = ", ".join(f"launch.{name}" for name in COMMANDS)
    code = f"import sys, {doors}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_option_has_a_meaning():
    for option in options(PretrainConfig):
        assert len(option.meaning) > 10, option.name


def test_deepspeed_trains_on_two_ranks_and_the_encoder_opens(shards_folder, tmp_path):
    """deepspeed --num_gpus 2 -> checkpoint -> export -> embeddings, each from `/`."""
    deepspeed = Path(sys.executable).with_name("deepspeed")
    launcher = [deepspeed, "--num_gpus", "2", "--master_port", _free_port()]
    script = [REPOSITORY / "launch" / "pretrain.py", f"data={shards_folder}", f"run={tmp_path}/run"]
    _run(*launcher, *script, *SMALL, "train.zero_stage=1")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["world"] == 2
    _door("export", f"run={tmp_path}/run", f"output={tmp_path}/encoder")
    vectors, rejected = Encoder.load(tmp_path / "encoder").embed(["CCO", "nonsense", "c1ccccc1O"])
    assert vectors["local"].shape == (3, 64)
    assert rejected == {1: "syntax"}


def test_two_ranks_say_a_mistake_once(tmp_path):
    deepspeed = Path(sys.executable).with_name("deepspeed")
    script = [REPOSITORY / "launch" / "pretrain.py", "data=/no/such", f"run={tmp_path}/run"]
    launcher = [deepspeed, "--num_gpus", "2", "--master_port", _free_port()]
    done = _run(*launcher, *script, expect=2)
    assert (done.stdout + done.stderr).count("error: shards folder /no/such does not exist") == 1


def test_a_rank_alone_with_its_mistake_says_it(tmp_path, monkeypatch, capsys):
    """Nobody has ended it meanwhile, so nobody else has said it."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(entry, "SILENT_S", 0.01)
    assert pretrain.main([f"data={tmp_path}/nothing", f"run={tmp_path}/run"]) == 2
    assert "nothing does not exist" in capsys.readouterr().err


def test_python_alone_trains_and_goes_on(shards_folder, tmp_path):
    """Without a launcher; the same command with more steps continues the run."""
    arguments = [
        f"data={shards_folder}",
        f"run={tmp_path}/run",
        *SMALL,
        "train.log_every=1",
        "train.save_every=1",
    ]
    _door("pretrain", *arguments)
    assert "resumed at step 2" in _door("pretrain", *arguments, "train.steps=3").stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("shard", ["inptu=x"], "unknown option 'inptu'. Did you mean 'input'?"),
        ("shard", ["input"], "'input' is not key=value"),
        ("shard", [], "option output=... is required"),
        ("shard", ["output=y"], "option input=... is required"),
        ("shard", ["input=/no/such.smi", "output=/no/such/out"], "input '/no/such.smi' does not exist"),
        ("shard", ["input=x", "output=y", "workers=many"], "option workers: Value 'many'"),
        ("shard", ["input=x", "output=y", "executor=slurm"], "expected one of [serial, processes, ray]"),
        (
            "pretrain",
            ["data=x", "run=y", "model=smal"],
            "model=smal is no file of configs/model. Did you mean",
        ),
        ("pretrain", ["data=x", "run=y", "train.batchs=4"], "'train.batchs'. Did you mean 'train.batch'?"),
        ("pretrain", ["data=x", "run=y", "loss.temperature=0.001"], "loss.temperature=0.001: give 0.01 to 1"),
        (
            "pretrain",
            ["data=x", "run=y", "train.zero_stage=4"],
            "train.zero_stage=4: DeepSpeed has 0, 1, 2 and 3",
        ),
        ("finetune", ["targets=y", "task=regression"], "option targets: expected a list, as targets=[a,b]"),
        ("export", ["run=/no/such", "output=/no/such/out"], "/no/such is no pretraining run"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(name, arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert importlib.import_module(f"launch.{name}").main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error
    assert not list(tmp_path.iterdir())


def test_nothing_that_is_imported_speaks_beside_a_mistake():
    """A process of its own, from `/`, with all that training imports."""
    error = _door("pretrain", "data=/no/such", "run=/no/such/out", expect=2).stderr
    assert error.startswith("error: shards folder /no/such does not exist")
    assert error.count("\n") == 1
    assert not Path("/no/such/out").exists()


def test_one_command_lists_the_doorways():
    told = _run(sys.executable, "-c", f"import sys; sys.path[0] = {str(REPOSITORY)!r}; import launch.entry as e; "
                "sys.argv = ['molparallax', '--help']; sys.exit(e.main())").stdout  # fmt: skip
    for name in COMMANDS:
        assert name in told
    error = _run(sys.executable, "-c", f"import sys; sys.path[0] = {str(REPOSITORY)!r}; import launch.entry as e; "
                 "sys.argv = ['molparallax', 'pretrian']; sys.exit(e.main())", expect=2).stderr  # fmt: skip
    assert "Did you mean 'pretrain'?" in error
