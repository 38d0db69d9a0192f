"""The demo runs the doorways as a user would, skips what is complete, and ends what it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune.config import FinetuneConfig
from launch import commands, demo
from launch.commands import Plan
from launch.config import DemoConfig
from launch.entry import compose_config
from launch.journal import Command, Journal, Machine
from launch.stages import CommandError, run_stage
from pretrain.config import ExportConfig, PretrainConfig
from sharding.config import ShardConfig
from sharding.errors import UserError

CPU: Machine = {"cores": 2, "gpus": []}
CONFIGS = {
    "shard": ShardConfig,
    "pretrain": PretrainConfig,
    "export": ExportConfig,
    "finetune": FinetuneConfig,
}


def _python(name: str, product: Path, code: str, options: list[str] | None = None) -> Command:
    return Command(
        stage="shard",
        name=name,
        shown=f"python {name}",
        words=[sys.executable, "-c", code],
        environment={"MARK": "here"},
        options=options or [],
        product=product,
        product_last=False,
    )


def _lives(pid: int) -> bool:
    """A zombie that nobody reaps is as good as gone."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").is_dir() else True
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell ignores SIGINT for what it starts in the background, and so do test runners' workers."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.begin(tmp_path / "demo", CPU)


@pytest.mark.parametrize("folder", ["plain", "it's = odd, [really]"])
def test_every_command_is_one_that_its_doorway_accepts(tmp_path: Path, folder: str):
    output = tmp_path / folder
    stages = Plan(DemoConfig(output=str(output), seeds=2), CPU).stages()
    assert list(stages) == [stage for stage in demo.STAGES if stage != "report"]
    assert len(stages["finetune"]) == 8
    for stage, planned in stages.items():
        for command in planned:
            config = compose_config(stage, CONFIGS[stage], command.options)
            product = command.product.relative_to(output)
            folder_of_product = getattr(config, "output" if stage in ("shard", "export") else "run")
            assert Path(folder_of_product) / product.name == command.product


def test_only_the_encoders_weights_differ_between_variants(tmp_path: Path):
    runs = Plan(DemoConfig(output=str(tmp_path), seeds=1), CPU).stages()["finetune"]
    pretrained, scratch = runs[0].options, runs[1].options
    assert {a.partition("=")[0] for a, b in zip(pretrained, scratch, strict=True) if a != b} == {
        "run",
        "pretrained",
    }


@pytest.mark.parametrize(("gpus", "ranks"), [(0, "2"), (1, "1"), (3, "2"), (8, "8")])
def test_ranks(tmp_path: Path, gpus: int, ranks: str):
    machine: Machine = {"cores": 2, "gpus": ["one of a kind"] * gpus}
    (command,) = Plan(DemoConfig(output=str(tmp_path)), machine).stages()["pretrain"]
    assert command.words[2] == ranks
    assert command.environment.get("DS_ACCELERATOR") == (None if gpus else "cpu")


def test_output_is_kept_and_complete_commands_are_skipped(
    journal: Journal, capsys: pytest.CaptureFixture[str]
):
    product = journal.folder / "product"
    code = f"import os; print(os.environ['MARK']); open({str(product)!r}, 'a').write('x')"
    for _ in range(2):
        run_stage([_python("one", product, code)], journal)
    assert product.read_text() == "x"
    assert (journal.folder / "logs" / "one.log").read_text() == "$ python one\nhere\n"
    said = capsys.readouterr().out
    assert "here" in said and "complete already: 1 of 1" in said
    assert Journal.open(journal.folder).content["commands"]["one"]["shown"] == "python one"
    product.unlink()
    run_stage([_python("one", product, code)], journal)
    assert product.read_text() == "x"


def test_a_failure_ends_the_others_and_says_where_to_look(journal: Journal):
    """The other command has a child of its own, as a launcher has ranks."""
    pid = journal.folder / "pid"
    sleeper = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\nchild.wait()"
    )
    wait = f"import os, sys, time\nwhile not os.path.exists({str(pid)!r}): time.sleep(0.01)\nsys.exit(7)"
    begun = time.monotonic()
    with pytest.raises(
        CommandError, match=r"stage shard failed with exit code 7: python bad .*logs/bad\.log"
    ) as raised:
        run_stage(
            [_python("sleeper", journal.folder / "a", sleeper), _python("bad", journal.folder / "b", wait)],
            journal,
            side_by_side=2,
        )
    assert raised.value.code == 7
    assert time.monotonic() - begun < 20
    assert journal.content["commands"] == {}
    while _lives(int(pid.read_text())):
        assert time.monotonic() - begun < 20
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, None), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_end_the_children_first(
    journal: Journal, sent: signal.Signals, code: int | None, interruptible: None
):
    pid = journal.folder / "pid"
    sleeper = (
        f"import os, signal, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        f"os.kill(os.getppid(), {int(sent)})\ntime.sleep(60)"
    )
    with pytest.raises(KeyboardInterrupt if code is None else SystemExit) as raised:
        run_stage([_python("sleeper", journal.folder / "never", sleeper)], journal)
    assert code is None or raised.value.code == code
    assert not _lives(int(pid.read_text()))


def test_a_demo_goes_on_with_the_same_options_only(journal: Journal):
    product = journal.folder / "product"
    product.touch()
    journal.record(_python("one", product, "", ["train.steps=200", "seed=0"]), 1.0)
    journal.check(
        [_python("one", product, "", ["train.steps=200", "seed=0"]), _python("two", product, "", ["new=1"])]
    )
    with pytest.raises(UserError, match=r"other options \(shard: train.steps=200, now train.steps=300\)"):
        journal.check([_python("one", product, "", ["train.steps=300", "seed=0"])])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["output={tmp}/new", "step=5"], "unknown option 'step'. Did you mean 'steps'?"),
        (["output={tmp}/new", "seeds=0"], "seeds=0: give at least 1"),
        (["output={tmp}/new", "only=report"], "holds no demo (no stages.json)"),
        (["output={tmp}/other"], "holds something else than a demo"),
        (["output={tmp}/file"], "is a file"),
        (["output={tmp}/new", "molecules={tmp}/none.smi"], "does not exist"),
        ([], "option output=... is required"),
    ],
)
def test_mistakes(tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    assert demo.main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_source_the_demo_says_where_its_molecules_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(commands, "DATA", tmp_path / "site-packages" / "tests" / "data")
    assert demo.main([f"output={tmp_path}/new"]) == 2
    assert "clone the repository and run make demo" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_without_matplotlib_the_demo_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(demo, "find_spec", lambda _: None)
    assert demo.main([f"output={tmp_path}/new"]) == 2
    assert "pip install 'molparallax[report]'" in capsys.readouterr().err


def test_a_failing_stage_gives_the_demo_its_exit_code(tmp_path: Path):
    """From another folder, as a subprocess: a file without a molecule stops the first stage."""
    (tmp_path / "bad.smi").write_text("not-a-smiles\n")
    doorway = Path(demo.__file__).resolve()
    done = subprocess.run(
        [sys.executable, str(doorway), "output=out", "molecules=bad.smi", "executor=serial"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: stage shard failed with exit code 2: python ")
    assert done.stderr.endswith("log: out/logs/shard.log\n")
    assert "holds no valid molecule" in (tmp_path / "out" / "logs" / "shard.log").read_text()
    assert "== 1 of 5  shard" in done.stdout
