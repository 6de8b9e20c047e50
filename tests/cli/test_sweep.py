"""`lsseq sweep` as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import cli_in_process

from lsseq.runs import RunFolder, read_metrics

Cli = Callable[..., Any]
TINY = ("model.hidden=8", "model.embedding=4", "training.batch=4", "training.bptt=16", "training.minutes=null")
SHORT = (*TINY, "training.steps=4", "training.evaluate_every=2")
RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray Tune is not installed")
ENGINES = ["optuna", pytest.param("ray", marks=RAY)]

pytest.importorskip("optuna")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    return cli_in_process(capfd)


@pytest.fixture
def text(small_text: Path, tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_bytes(small_text.read_bytes()[:4000])
    return f"data.text={path}"


def test_a_sweep_and_what_comes_of_it(cli: Cli, text: str, tmp_path: Path) -> None:
    done = cli("sweep", "quickstart", text, *SHORT, "training.batch=4,8,4000", "--run", "sizes", "--json")
    values = json.loads(done.stdout)
    assert [trial["values"] for trial in values["trials"]] == [{"training.batch": size} for size in ("4", "8", "4000")]
    assert [trial["state"] for trial in values["trials"]] == ["complete", "complete", "failed"]
    assert "training tokens are too few for 4000 streams" in values["trials"][2]["error"]
    assert "trial 2: failed" in done.stderr
    for trial in values["trials"][:2]:
        lines = [line for line in read_metrics(Path(trial["run"]) / "metrics.jsonl") if line["split"] == "valid"]
        assert (trial["value"], trial["step"]) == min((line["nll"], line["step"]) for line in lines)
    assert values["best"] == min(values["trials"][:2], key=lambda trial: trial["value"])
    assert Path("sizes/best.yaml").read_text() == Path(values["best"]["run"], "recipe.yaml").read_text()
    rows = json.loads(cli("compare", "sizes", "--json").stdout)["rows"]
    assert [row["run"] for row in rows] == ["sizes/trials/0", "sizes/trials/1"]
    again = json.loads(cli("sweep", "--run", "sizes", "--resume", "--json").stdout)
    assert again == values
    assert "best: trial" in cli("sweep", "--run", "sizes", "--resume").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["quickstart", "model.hiden=1,2"], "did you mean `model.hidden`?"),
        (["quickstart", "model.layers=1,two"], "model.layers must be an integer"),
        (["quickstart", "training.lr=log:0..1"], "a logarithm needs numbers above 0"),
        (["quickstart", "training.lr"], "`training.lr` is not KEY=SPACE"),
        (["quickstart"], "no key is searched"),
        (["quickstart", "model.layers=2"], "no key is searched"),
        (["model.layers=1,2"], "no RECIPE is given"),
        (["quikstart", "model.layers=1,2"], "did you mean `quickstart`?"),
        (["quickstart", "model.layers=1,2", "--address", "auto"], "--address is of a Ray cluster"),
        (["quickstart", "model.layers=1,2", "--engine", "optun"], "'optun' is not one of 'optuna', 'ray'"),
        (["quickstart", "--resume"], "--resume needs --run DIR"),
        (["--run", "none", "--resume"], "there is no sweep to resume in `none`"),
        (["quickstart", "model.layers=1,2", "--run", "taken"], "`taken` exists already"),
        (["--run", "taken", "--resume", "model.layers=1,2"], "a sweep goes on with its own recipe"),
    ],
)
def test_requests_that_are_refused(cli: Cli, arguments: list[str], told: str) -> None:
    Path("taken").mkdir()
    Path("taken/file").write_text("")
    assert told in cli("sweep", *arguments, check=2).stderr
    assert sorted(path.name for path in Path().iterdir()) == ["taken"]


@pytest.mark.parametrize(("engine", "module", "extra"), [("optuna", "optuna", "sweep"), ("ray", "ray", "ray")])
def test_a_library_that_is_missing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, engine: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    said = cli("sweep", "quickstart", "model.layers=1,2", "--engine", engine, check=2).stderr
    assert "which is not installed here" in said
    assert f"hint: pip install 'lsseq[{extra}]' installs it" in said
    assert not Path("runs").exists()


def test_where_every_trial_fails(cli: Cli) -> None:
    said = cli("sweep", "quickstart", "data.text=none.txt", "model.layers=1,2", "--run", "s", check=1).stderr
    assert "error: every trial failed; the first: there is no file or folder" in said


def test_a_damaged_sweep(cli: Cli) -> None:
    Path("s").mkdir()
    Path("s/sweep.json").write_text("{")
    assert "s/sweep.json is damaged" in cli("sweep", "--run", "s", "--resume", check=1).stderr
    values = {"spaces": {"model.layers": "1,2"}, "trials": 2, "engine": "optuna", "seed": 0}
    for wrong in ({"spaces": 3}, {"trials": "x"}, {"engine": "zzz"}):
        Path("s/sweep.json").write_text(json.dumps(values | wrong))
        told = cli("sweep", "--run", "s", "--resume", check=1).stderr
        assert f"s/sweep.json is damaged: {next(iter(wrong))}" in told
    Path("s/sweep.json").write_text(json.dumps(values))
    Path("s/study.db").write_bytes(b"no database " * 100)
    assert "s/study.db is damaged: " in cli("sweep", "--run", "s", "--resume", check=1).stderr


def test_a_sweep_is_found_by_its_name(cli: Cli) -> None:
    Path("runs/s").mkdir(parents=True)
    Path("runs/s/sweep.json").write_text("{")
    assert "runs/s/sweep.json is damaged" in cli("sweep", "--run", "s", "--resume", check=1).stderr


def started(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "lsseq", "sweep", *arguments], env=environment)


def until(condition: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_sweep_that_is_killed_goes_on(text: str, tmp_path: Path, engine: str) -> None:
    folder = tmp_path / "sweep"
    keys = (*TINY, "training.steps=2000", "training.evaluate_every=200", "training.checkpoint_every=50")
    sweep = started(
        *("quickstart", text, *keys, "training.threads=1", "training.lr=log:1e-4..1e-1", "--trials", "3"),
        *("--engine", engine, "--run", str(folder)),
    )
    checkpoint = folder / "trials" / "1" / "checkpoints" / "last" / "checkpoint.json"
    until(checkpoint.exists)
    sweep.kill()
    sweep.wait()
    # The training notices that its sweep is gone, and saves its state; Ray kills it.
    log = checkpoint.parents[3] / "1.log"
    until(lambda: not RunFolder(checkpoint.parents[2]).in_use())
    if engine == "optuna":
        assert "interrupted" in log.read_text() or "final valid" in log.read_text()
    resumed = started("--run", str(folder), "--resume")
    assert resumed.wait(timeout=500) == 0
    assert "going on after step" in log.read_text() or "finished" in log.read_text()
    for number in range(3):
        lines = read_metrics(folder / "trials" / str(number) / "metrics.jsonl")
        steps = [line["step"] for line in lines if line["split"] == "valid"]
        assert steps == list(range(200, steps[-1] + 1, 200))
    assert (folder / "best.yaml").is_file()


@pytest.mark.slow
def test_an_interrupt_saves_the_trial_under_way(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    keys = (*TINY, "training.steps=100000", "training.log_every=10")
    sweep = started("quickstart", text, *keys, "training.lr=1e-3,1e-2", "--run", str(folder))
    until((folder / "trials" / "0" / "metrics.jsonl").exists)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(timeout=120) == 130
    assert (folder / "trials" / "0" / "checkpoints" / "last" / "checkpoint.json").is_file()
