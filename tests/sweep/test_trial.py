"""How the process of a trial is followed, with a shell script in the place of the training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsseq.errors import Interrupted
from lsseq.sweep import trial
from lsseq.sweep.trial import Outcome, run_trial

pytestmark = pytest.mark.skipif(os.name == "nt", reason="it needs a shell")
LINES = '{"step": 1, "split": "train", "nll": 9}\n{"step": 1, "split": "valid", "nll": 2}\n'


def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, stop_at: int | None = None) -> Outcome:
    """A trial whose run folder has one validation, before `script` runs in it."""
    shell = tmp_path / "python"
    shell.write_text(f"#!/bin/sh\necho told by \"$*\"\ncd '{tmp_path}/run'\n{script}\n")
    shell.chmod(0o755)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text(LINES)
    monkeypatch.setattr(trial.sys, "executable", str(shell))
    told: list[tuple[int, float]] = []

    def report(step: int, value: float) -> bool:
        told.append((step, value))
        return step == stop_at

    try:
        return run_trial(Path("base.yaml"), ["model.layers=2"], tmp_path / "run", report)
    finally:
        assert told[0] == (1, 2.0)
        assert [step for step, _ in told] == list(range(1, len(told) + 1))
        assert (
            (tmp_path / "run.log")
            .read_text()
            .startswith(f"told by -m lsseq.cli.attached train base.yaml model.layers=2 --run {tmp_path}/run --resume\n")
        )


def test_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = """echo '{"step": 2, "split": "valid", "mse": 1}' >> metrics.jsonl"""
    assert played(tmp_path, monkeypatch, last) == Outcome("complete")


def test_it_is_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It lives until its input is closed.
    assert played(tmp_path, monkeypatch, "cat; echo saved > end; exit 130", stop_at=1) == Outcome("pruned")
    assert (tmp_path / "run" / "end").read_text() == "saved\n"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo progress; echo 'error: no\n  --> x.yaml:3\nhint: y' >&2; exit 2", "no\n  --> x.yaml:3\nhint: y"),
        ("kill -9 $$", "the training ended by signal 9"),
        ("echo last words; exit 3", "the training ended with exit code 3"),
    ],
)
def test_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, error: str) -> None:
    outcome = played(tmp_path, monkeypatch, script)
    assert outcome.state == "failed"
    assert outcome.error is not None
    assert outcome.error.startswith(error)
    assert ("last words" in outcome.error) == ("last words" in script)


def test_it_is_interrupted_by_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted, match="its state was saved"):
        played(tmp_path, monkeypatch, "exit 130")


def test_a_command_ends_when_nobody_holds_its_input() -> None:
    program = "import sys, time, runpy\nsys.argv = ['lsseq', 'data', 'list', '--json']\n"
    program += "from lsseq import cli\ncli.main = lambda: print('begun', flush=True) or time.sleep(600)\n"
    program += "runpy.run_module('lsseq.cli.attached', run_name='__main__')"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline().strip() == b"begun"
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=60) != 0
