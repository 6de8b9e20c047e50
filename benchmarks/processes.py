"""Trains a recipe in one process, in two, and with their number changed on the way, and compares each step.

    python benchmarks/processes.py FOLDER [--recipe quickstart] [--steps 100] [--change 60] [KEY=VALUE …]

Four runs are made in FOLDER: of one process, of two (`torchrun`), of two that a signal stops after step `--change` and
one that goes on, and of one and then two. Printed are, as a table, the largest relative differences to the run of one
process: of the training loss and of the norm of the gradient, over all steps, and of the validation figures.
Differences are those of sums in another order. The exit code is 1 where a loss differs by more than 1e-5.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lsseq.runs import read_metrics

TOLERANCE = 1e-5
LOSS = ("train", "nll")
ALONE = (sys.executable, "-m", "lsseq", "train")
TOGETHER = (
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    *("-m", "--", "lsseq", "train"),
)
STARTED = {1: ALONE, 2: TOGETHER}


def train(run: Path, processes: int, start: Sequence[str] = ("--resume",), change: int | None = None) -> None:
    """Make a run, or go on with it; to its end, or until a signal stops it after a step."""
    command = [*STARTED[processes], *start, "--run", str(run)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        stopped = False
        while change is not None and not stopped and process.poll() is None:
            if stopped := len(figures(run, *LOSS)) >= change:
                process.terminate()
            time.sleep(0.01)
        said, _ = process.communicate()
    if process.returncode and not stopped:
        raise SystemExit(said)


def figures(run: Path, split: str, name: str) -> dict[int, float]:
    """By step, those that were written so far."""
    path = run / "metrics.jsonl"
    lines = read_metrics(path) if path.exists() else []
    return {line["step"]: line[name] for line in lines if line["split"] == split}


def difference(run: Path, reference: Path, split: str, name: str) -> float:
    """The largest relative one over the steps of two runs."""
    values, expected = figures(run, split, name), figures(reference, split, name)
    if values.keys() != expected.keys() or not expected:
        raise SystemExit(f"{run} and {reference} have other steps of {split}")
    return max(abs(values[step] - value) / abs(value) for step, value in expected.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE", help="keys of the recipe")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--change", type=int, default=60, help="the step after which the number of processes changes")
    options = parser.parse_intermixed_args()
    start = [options.recipe, "training.log_every=1", f"training.steps={options.steps}", *options.keys]
    one, two = options.folder / "one", options.folder / "two"
    train(one, 1, start)
    train(two, 2, start)
    compared = {"2": two}
    for first, then in ((2, 1), (1, 2)):
        run = options.folder / f"{first}-then-{then}"
        train(run, first, start, options.change)
        changed = len(figures(run, *LOSS))
        train(run, then)
        compared[f"{first} up to step {changed}, then {then}"] = run
    rows = {
        name: [difference(run, one, *figure) for figure in (LOSS, ("train", "grad_norm"), ("valid", "nll"))]
        for name, run in compared.items()
    }
    print("| processes | loss | norm of the gradient | validation |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{value:.1e}' for value in row)} |")
    sys.exit(any(row[0] > TOLERANCE for row in rows.values()))


if __name__ == "__main__":
    main()
