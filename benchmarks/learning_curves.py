"""Learning curves of runs as a PNG file: a figure of the validation split against steps and against minutes.

    python benchmarks/learning_curves.py RUN [RUN …] --png FILE [--metric accuracy]

Without `--metric` it is the first of accuracy, mse, bpc and nll that all runs have. Of a task the chance level and the
known solution are drawn beside.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lsseq.data.tasks import open_task
from lsseq.errors import RequestError
from lsseq.recipe import load_recipe
from lsseq.runs import RunFolder, read_metrics

METRICS = ("accuracy", "mse", "bpc", "nll")
Curve = list[dict[str, Any]]
"""The lines of the validation split."""


def curve_of(run: RunFolder) -> Curve:
    return [line for line in read_metrics(run.metrics) if line["split"] == "valid"]


def levels_of(run: RunFolder, metric: str) -> dict[str, float]:
    """The chance level and the known solution of a run's task; nothing where it has none."""
    data = load_recipe(str(run.recipe)).recipe.data
    if data.task is None:
        return {}
    examples = open_task(data, data.task, run.path)
    return {"chance": examples.chance("valid")[metric], "solution": examples.form.solution[metric]}


def common_metric(curves: list[Curve]) -> str:
    known = [set.intersection(*(set(line) for line in curve)) if curve else set() for curve in curves]
    for metric in METRICS:
        if all(metric in names for names in known):
            return metric
    raise RequestError("these runs have no figure in common, or one was never evaluated")


def draw(runs: list[RunFolder], metric: str | None, png: Path) -> None:
    """Write the file; an mse is drawn on a logarithmic scale."""
    from matplotlib.figure import Figure

    curves = [curve_of(run) for run in runs]
    metric = metric or common_metric(curves)
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    for axes, name, unit in zip(figure.subplots(1, 2, sharey=True), ("step", "seconds"), (1, 60), strict=True):
        for run, curve in zip(runs, curves, strict=True):
            axes.plot([line[name] / unit for line in curve], [line[metric] for line in curve], label=run.path.name)
        for level, value in levels_of(runs[0], metric).items():
            if metric != "mse" or value > 0:
                axes.axhline(value, color="0.6", linestyle={"chance": ":", "solution": "--"}[level], label=level)
        axes.set(xlabel={"step": "steps", "seconds": "minutes"}[name], yscale="log" if metric == "mse" else "linear")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel(f"{metric} on valid")
    figure.axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(png, format="png", dpi=150, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, or its name under runs/")
    parser.add_argument("--png", type=Path, required=True, metavar="FILE")
    parser.add_argument("--metric", choices=METRICS)
    arguments = parser.parse_args()
    draw([RunFolder.open(run) for run in arguments.runs], arguments.metric, arguments.png)


if __name__ == "__main__":
    main()
