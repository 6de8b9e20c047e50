"""Anytime evaluation: one set of weights, run for as many steps as there is time for.

    python examples/anytime.py --png anytime.png
    python examples/anytime.py --most 8 model.hidden=256 training.steps=4000

The model is one LSTM cell that stands above itself as a random number of virtual layers in training. It is measured at
every number of them, with what a symbol costs then. A finished run is taken as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import lsseq
import lsseq.nn as lnn
from lsseq.recipe import load_recipe
from lsseq.training.session import train_recipe

MODEL = (
    *("model.hidden=192", "model.embedding=192"),
    "model.stack={kind: tied, steps: 4, random_steps: {mean: 3, most: 6}}",
)


def draw(points: Sequence[tuple[float, float]], png: Path) -> None:
    """Write loss against operations as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True), marker="o")
    axes.set(xlabel="million operations a symbol", ylabel="validation loss (nats a symbol)")
    figure.savefig(png, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--most", type=int, default=6, help="virtual layers")
    parser.add_argument("--png", type=Path, help="draw the curve")
    given = parser.parse_args(arguments)

    run = given.runs / "anytime"
    train_recipe(load_recipe("quickstart", [*MODEL, *given.keys]), run, resume=True)
    model = lsseq.load(run)
    points = []
    print(f"{'layers':>6}  {'operations':>10}  {'nats a symbol, valid'}")
    for steps in range(1, given.most + 1):
        lnn.set_steps(model.model, steps)
        values = model.evaluate("valid", streams=8)
        points.append((values["flops_per_token"] / 1e6, values["nll"]))
        print(f"{steps:6}  {values['flops_per_token']:10,.0f}  {values['nll']:.4f}")
    if given.png:
        draw(points, given.png)


if __name__ == "__main__":
    main()
