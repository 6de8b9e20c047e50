"""The effect of zoneout: the same model with and without, its loss on what it learns from and on what it has not seen.

    python examples/zoneout.py --png zoneout.png
    python examples/zoneout.py data.text=my-text.txt model.hidden=512 training.steps=4000

Both runs have one seed, one order of the text and one budget. Finished runs are taken as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import lsseq
from lsseq.recipe import load_recipe
from lsseq.runs import RunFolder, read_metrics
from lsseq.training.session import train_recipe

VARIANTS = {
    "plain": (),
    "zoneout": ("model.zoneout.cell=0.3", "model.zoneout.hidden=0.05"),
}


def curve(run: Path) -> tuple[list[int], list[float]]:
    """Steps, and the validation loss there in nats a token."""
    lines = [line for line in read_metrics(RunFolder.open(run).metrics) if line["split"] == "valid"]
    return [line["step"] for line in lines], [line["nll"] for line in lines]


def draw(runs: dict[str, Path], png: Path) -> None:
    """Write the validation curves of runs as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, run in runs.items():
        axes.plot(*curve(run), label=name)
    axes.set(xlabel="steps", ylabel="validation loss (nats a symbol)")
    axes.legend(frameon=False)
    figure.savefig(png, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE", help="of the recipe, for both")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--png", type=Path, help="draw the learning curves")
    given = parser.parse_args(arguments)

    runs = {name: given.runs / f"effect-{name}" for name in VARIANTS}
    print(f"{'':8}  {'train':>7}  {'valid':>7}  {'gap':>7}    nats a symbol, best weights, without noise")
    for name, keys in VARIANTS.items():
        train_recipe(load_recipe("quickstart", [*given.keys, *keys]), runs[name], resume=True)
        model = lsseq.load(runs[name])
        train, valid = (model.evaluate(split, streams=32)["nll"] for split in ("train", "valid"))
        print(f"{name:8}  {train:7.4f}  {valid:7.4f}  {valid - train:7.4f}")
    if given.png:
        draw(runs, given.png)


if __name__ == "__main__":
    main()
