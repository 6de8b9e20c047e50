"""`torchrun … -m lsseq train` as a person or a scheduler meets it: real processes, real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny_run import Finished, cli_in_process

from lsseq.runs import read_metrics, read_values

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]

RECIPE = """\
data: {{text: {text}}}
model: {{hidden: 16, embedding: 8, zoneout: {{cell: 0.5, hidden: 0.05}}, dropout: {{output: 0.2, input: 0.1}}}}
training: {{batch: 8, bptt: 20, steps: 40, log_every: 1, evaluate_every: 10, clip: 0.5, accumulate: 2}}
evaluation: {{window: 50}}
"""
LONG = ("training.steps=100000", "training.evaluate_every=5")
LOST = "error: a process of this training was lost, and all others have stopped\n"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE.format(text=small_text))
    return path


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory, run_cli: RunCli) -> Path:
    """The run of one process."""
    run = tmp_path_factory.mktemp("alone") / "run"
    run_cli("train", recipe, "--run", run, check=0)
    return run


@contextmanager
def torchrun(*args: object, restarts: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Two processes with these arguments of `lsseq`; they are gone afterwards."""
    options = ["--nproc-per-node", "2", "--max-restarts", str(restarts), "-m", "--", "lsseq", *map(str, args)]
    command = [sys.executable, "-m", "torch.distributed.run", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            # The agent ends its processes, which a kill would leave alone.
            process.terminate()
            process.communicate(timeout=60)


def finished(*args: object, check: int = 0) -> Finished:
    with torchrun(*args) as process:
        stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == check, f"exit code {process.returncode}\n{stdout}\n{stderr}"
    return Finished(process.returncode, stdout, stderr)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The process ids of those that `torchrun` has started, in the order of their ranks."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    return sorted(map(int, found.stdout.split()))


def wait_for_checkpoint(process: subprocess.Popen[str], run: Path) -> None:
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last" / "checkpoint.json").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_alike(run: Path, expected: Path) -> None:
    lines, others = read_metrics(run / "metrics.jsonl"), read_metrics(expected / "metrics.jsonl")
    assert len(lines) == len(others)
    for line, other in zip(lines, others, strict=True):
        assert line.keys() == other.keys()
        for name, value in other.items():
            if name not in ("seconds", "tokens_per_second"):
                assert line[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), name


def environment(run: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run / "environment.json").read_text())
    return values


def test_two_train_as_one_does_and_one_goes_on(recipe: Path, alone: Path, tmp_path: Path, run_cli: RunCli) -> None:
    run = tmp_path / "run"
    result = finished("train", recipe, "--run", run, "--json", "training.steps=25")
    assert json.loads(result.stdout)["steps"] == 25
    assert result.stderr.count("tokens an epoch, 2 processes, each 1 CPU thread\n") == 1
    assert result.stderr.count("step 20, epoch") == 1
    assert environment(run)["processes"] == 2
    if (board := run / "tensorboard").exists():
        assert len(list(board.iterdir())) == 1

    again = run_cli("train", "--run", run, "--resume", "training.steps=40", check=0)
    assert "note: the run goes on, but not to the bit: processes (1, at first 2)\n" in again.stderr
    assert_alike(run, alone)


@pytest.mark.slow
def test_two_go_on_where_one_stopped(recipe: Path, alone: Path, tmp_path: Path, run_cli: RunCli) -> None:
    run = tmp_path / "run"
    run_cli("train", recipe, "--run", run, "training.steps=25", check=0)
    again = finished("train", "--run", run, "--resume", "training.steps=40")
    assert again.stderr.count("note: the run goes on, but not to the bit: processes (2, at first 1)\n") == 1
    assert_alike(run, alone)
    assert finished("train", "--run", run, "--resume").stderr.count("this run is finished") == 1


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused_once(recipe: Path, tmp_path: Path) -> None:
    result = finished("train", recipe, "training.batch=9", "--run", tmp_path / "runs" / "x", check=1)
    assert result.stderr.count("error: a batch of 9 cannot be shared evenly by 2 processes\n") == 1
    assert "hint: the nearest that can: training.batch=8 or 10\n" in result.stderr
    assert "exitcode  : 2 " in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_dry_run_is_reported_once(recipe: Path) -> None:
    assert finished("train", recipe, "--dry-run").stdout.count(" s a step, ") == 1


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_process_stops_all_with_one_message(recipe: Path, tmp_path: Path, run_cli: RunCli, rank: int) -> None:
    run = tmp_path / "run"
    with torchrun("train", recipe, *LONG, "--run", run) as process:
        wait_for_checkpoint(process, run)
        os.kill(workers(process)[rank], signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.count("error: ") == stderr.count(LOST) == 1
    step = read_values(run / "checkpoints" / "last")["step"]
    run_cli("train", "--run", run, "--resume", f"training.steps={step + 3}", check=0)


@pytest.mark.slow
def test_torchrun_starts_again_from_the_last_checkpoint(recipe: Path, tmp_path: Path, run_cli: RunCli) -> None:
    run, steps = tmp_path / "run", "training.steps=300"
    with torchrun("train", recipe, steps, "--run", run, "--resume", restarts=1) as process:
        wait_for_checkpoint(process, run)
        os.kill(workers(process)[1], signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert stderr.count(LOST) == 1
    assert "going on after step " in stderr
    assert stdout.count(f"{run}: 300 steps") == 1
    run_cli("train", recipe, steps, "--run", tmp_path / "alone", check=0)
    assert_alike(run, tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_after_the_same_step_everywhere(recipe: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    with torchrun("train", recipe, *LONG, "--run", run) as process:
        wait_for_checkpoint(process, run)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    step = read_values(run / "checkpoints" / "last")["step"]
    assert stderr.count(f"error: interrupted after step {step}; the state was saved\n") == stderr.count("error: ") == 1


def test_restarts_need_a_run_that_can_be_resumed(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    run_cli = cli_in_process(capsys)
    for options in ([], ["--resume"]):
        monkeypatch.chdir(tmp_path)
        refused = run_cli("train", recipe, *options, check=2)
        assert "would find its run folder taken\nhint: give --run DIR --resume" in refused.stderr
    run_cli("train", recipe, "--run", tmp_path / "run", "--resume", "training.steps=1", check=0)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
