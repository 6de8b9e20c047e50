"""One process against two: the table, and that other figures are found."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "processes.py"
KEYS = (
    *("model.hidden=16", "model.embedding=8"),
    *("training.batch=8", "training.bptt=20", "training.lr=1e-3", "training.evaluate_every=100"),
)


@pytest.mark.slow
def test_each_way_gives_the_losses_of_one_process(tmp_path: Path, small_text: Path) -> None:
    options = ("--steps", "300", "--change", "20")
    command = [sys.executable, SCRIPT, tmp_path / "runs", *options, f"data.text={small_text}", *KEYS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    head, _, *rows = done.stdout.splitlines()
    assert head == "| processes | loss | norm of the gradient | validation |"
    names, losses = zip(*([cell.strip() for cell in row.split("|")[1:3]] for row in rows), strict=True)
    assert re.sub(r"\d+,", "N,", " | ".join(names)) == "2 | 2 up to step N, then 1 | 1 up to step N, then 2"
    # The signal came in time for the other number of processes to make the rest.
    assert all(20 <= int(name.split()[4].rstrip(",")) < 300 for name in names[1:])
    assert all(float(loss) <= 1e-5 for loss in losses)


def test_differences_are_relative_and_of_the_same_steps(tmp_path: Path) -> None:
    script: dict[str, Any] = runpy.run_path(str(SCRIPT))

    def run(name: str, *losses: float) -> Path:
        (folder := tmp_path / name).mkdir()
        lines = [{"step": step, "split": "train", "nll": loss} for step, loss in enumerate(losses, start=1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    one, near, short = run("one", 4.0, 2.0), run("near", 4.0, 2.5), run("short", 4.0)
    assert script["difference"](near, one, "train", "nll") == 0.25
    with pytest.raises(SystemExit, match="have other steps of train"):
        script["difference"](short, one, "train", "nll")


def test_a_part_that_fails_before_its_signal_says_why(tmp_path: Path) -> None:
    script: dict[str, Any] = runpy.run_path(str(SCRIPT))
    with pytest.raises(SystemExit, match="quikstart"):
        script["train"](tmp_path / "run", 1, ["quikstart"], 20)
