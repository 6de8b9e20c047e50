"""Losses of a few dozen steps, kept in files: what should not alter the computation must not alter them.

After a change that should, write them anew: python tests/training/test_golden.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
import torch

from lsseq.data.batches import training_windows
from lsseq.model.factory import build_model
from lsseq.recipe import load_recipe
from lsseq.training.state import LoopState
from lsseq.training.step import make_step

GOLDEN = Path(__file__).parent / "golden"
STEPS = 40
TOLERANCE = 2e-5
"""Relative: other versions of torch and other processors add up in other orders, and 40 steps let that grow."""

RECIPES = {
    "lstm-adam": ["model.hidden=24", "training.lr=1e-2", "training.clip=1"],
    "zoneout-adam": [
        "model.hidden=24", "model.zoneout={cell: 0.5, hidden: 0.05}", "training.lr=1e-2", "training.clip=1",
        "training.clip_by=update", "training.windows=pieces", "model.dropout.output=0.2",
    ],
    "gru-sgd": [
        "model.recurrence=gru", "model.hidden=[24, 16]", "model.layers=2", "training.optimizer=sgd", "training.lr=2",
        "training.momentum=0.5", "training.clip=0.25", "training.schedule.warmup=10", "training.random_bptt=true",
    ],
    "tied-rmsprop": [
        "model.hidden=16", "model.embedding=16", "model.tied=true", "training.optimizer=rmsprop",
        "training.accumulate=2", "model.dropout.weight=0.3", "model.regularisation={activation: 2, slowness: 1}",
    ],
}  # fmt: skip


def losses(name: str, folder: Path) -> list[float]:
    """The train nll of each step on a text made of a simple rule, so that it does not depend on any file."""
    path = folder / "recipe.yaml"
    path.write_text("data: {text: unused}\nmodel: {embedding: 8}\ntraining: {batch: 8, bptt: 25, steps: 40}\n")
    recipe = load_recipe(str(path), RECIPES[name]).recipe
    tokens = torch.arange(6000).pow(2).remainder(97).remainder(30).numpy()
    torch.manual_seed(recipe.training.seed)
    model = build_model(recipe.model, 30)
    state = LoopState.start(model, training_windows(tokens, recipe.training, 0), recipe.training, torch.device("cpu"))
    model.train()
    nlls = []
    for _ in range(STEPS):
        make_step(state, recipe.training)
        nlls.append(state.meter.means()[0])
        state.meter.reset(0.0)
    return nlls


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_the_golden_ones(name: str, tmp_path: Path) -> None:
    golden = [float(line) for line in (GOLDEN / f"{name}.txt").read_text().split()]
    assert len(golden) == STEPS
    assert losses(name, tmp_path) == pytest.approx(golden, rel=TOLERANCE)
    assert golden[-1] < golden[0] - 0.05, "the model must have learned something for this test to say something"


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in RECIPES:
            text = "".join(f"{nll:.7f}\n" for nll in losses(name, Path(folder)))
            (GOLDEN / f"{name}.txt").write_text(text)
            print(name, text.split()[0], text.split()[-1], file=sys.stderr)
