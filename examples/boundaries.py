"""Learned boundaries of an HM-LSTM on a text of one's own: what its detectors mark, and whether words end there.

    python examples/boundaries.py my-text.txt --runs runs
    python examples/boundaries.py my-text.txt training.steps=500 model.hidden=64

It trains on the text (a finished run is taken as it is), shows the beginning of the test split with marks, and compares
each detector with the ends of words, beside one that fires at the same rate at random.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import lsseq
from lsseq.data import open_text
from lsseq.recipe import load_recipe
from lsseq.training.session import train_recipe

MODEL = ("model.recurrence=hm-lstm", "model.layers=3", "model.hidden=128", "model.norm=layer")
MARKS = "·|"
"""Of the first and the second detector."""


def marked(text: str, boundaries: Sequence[Sequence[int]]) -> str:
    """The text with a mark behind every symbol at which a detector fired."""
    found = [set(layer) for layer in boundaries]
    behind = ("".join(mark for mark, layer in zip(MARKS, found, strict=False) if t in layer) for t in range(len(text)))
    return "".join(symbol + marks for symbol, marks in zip(text, behind, strict=True))


def f1(found: Sequence[int], gold: Sequence[int]) -> float:
    """Of positions; 2 |found ∩ gold| / (|found| + |gold|)."""
    return 2 * len(set(found) & set(gold)) / max(1, len(found) + len(gold))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args(arguments)

    run = given.runs / "boundaries"
    recipe = load_recipe("quickstart", [f"data.text={given.text}", *MODEL, *given.keys])
    train_recipe(recipe, run, resume=True)

    model = lsseq.load(run)
    data = open_text(model.recipe.data)
    text = "".join(map(data.vocabulary.token, data.splits["test"].tokens.tolist()))
    boundaries = model.boundaries(text)
    print(marked(text[:400], boundaries))
    gold = [match.start() for match in re.finditer(r"\S(?=\s)", text)]
    print(f"\n{len(gold) / len(text):.3f} of the symbols are the last of a word")
    for number, found in enumerate(boundaries, start=1):
        rate, share = len(found) / len(text), len(gold) / len(text)
        chance = 2 * rate * share / (rate + share) if rate + share else 0.0
        print(f"layer {number}: fires at {rate:.3f}, F1 {f1(found, gold):.3f}, at random {chance:.3f}")


if __name__ == "__main__":
    main()
