"""One training of a sweep: a process of its own, followed by the lines that it writes about the validation split.

So a trial that is killed for its memory takes nothing else with it, and all memory is free again after each.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsseq.errors import Interrupted, RunError
from lsseq.runs import RunFolder
from lsseq.runs.metrics import read_metrics

OBJECTIVES = ("nll", "mse")
"""What is made small: the figure, of those that a model may have, by which its best checkpoint is chosen."""
PAUSE = 0.2
"""Seconds between two looks at the figures."""

Report = Callable[[int, float], bool]
"""Is told step and figure of each validation, and says whether the trial is to stop."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: Literal["complete", "pruned", "failed"]
    error: str | None = None
    """What it said, where it failed."""


def run_trial(recipe: Path, overrides: Sequence[str], run: Path, report: Report) -> Outcome:
    """Train, or go on where the trial stopped.

    Args:
        recipe: of the sweep.
        overrides: the values of this trial, `KEY=VALUE`.
        run: its run folder; what it says goes to the file of that name with `.log`.
        report: is given the figures, in order of the steps, from the first on.

    Raises:
        Interrupted: somebody stopped the training; its state was saved.
    """
    arguments = ["train", str(recipe), *overrides, "--run", str(run), "--resume"]
    run.parent.mkdir(parents=True, exist_ok=True)
    log = run.with_suffix(".log")
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "lsseq.cli.attached", *arguments],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            # Ctrl-C reaches it by the pipe, once.
            start_new_session=True,
        )
        try:
            pruned = _follow(process, run, report)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
    if pruned:
        return Outcome("pruned")
    if process.returncode == 0:
        return Outcome("complete")
    if process.returncode == Interrupted.exit_code:
        raise Interrupted(f"the training in {run} was interrupted; its state was saved")
    return Outcome("failed", _error(log, process.returncode))


def _follow(process: subprocess.Popen[bytes], run: Path, report: Report) -> bool:
    """Report until the training ends, or is to stop, which is returned."""
    told = -1
    while True:
        ended = _ended(process)
        for step, value in figures(run):
            if step > told:
                told = step
                if report(step, value) and not ended:
                    return True
        if ended:
            return False


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(PAUSE)
    except subprocess.TimeoutExpired:
        return False
    return True


def figures(run: Path) -> list[tuple[int, float]]:
    """Step and figure of each validation of a run so far."""
    path = RunFolder(run).metrics
    try:
        lines = read_metrics(path) if path.exists() else []
    except RunError:
        # Its own training says so.
        return []
    found = []
    for line in lines:
        value = next((line[name] for name in OBJECTIVES if line.get(name) is not None), None)
        if line["split"] == "valid" and value is not None:
            found.append((int(line["step"]), float(value)))
    return found


def _error(log: Path, code: int) -> str:
    """What a training that failed said: from its first line of an error on."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("error: ")), None)
    if first is not None:
        return "\n".join(lines[first:]).removeprefix("error: ")
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return "\n".join([f"the training ended {how}", *lines[-3:]])
