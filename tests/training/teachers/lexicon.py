"""A text whose words have no letter in common: where they end is plain to see from both sides."""

from __future__ import annotations

import numpy as np
import torch

from lsseq.recipe.schema import Teachers
from lsseq.training.teachers.school import Plan
from lsseq.training.teachers.teacher import View

WORDS = ([0, 1], [2, 3, 4], [5, 6, 7])
"""So short that a curve has no room for a little peak of its own between two ends."""
SIZE = 8
SMALL = Teachers(hidden=16, embedding=8, dropout=0.0, steps=150)
CPU = torch.device("cpu")


def text(words: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tokens in a random order of words, and where words end."""
    chosen = np.random.default_rng(seed).integers(0, len(WORDS), words)
    tokens = np.concatenate([WORDS[word] for word in chosen]).astype(np.uint8)
    return tokens, np.isin(tokens, [word[-1] for word in WORDS])


def view(*, backward: bool, watch: int | None = None) -> View:
    return View(backward, None, watch, CPU)


def plan(levels: int = 1, **keys: object) -> Plan:
    values = {"size": SIZE, "line_end": None, "settings": SMALL, "watches_line_ends": False, "seed": 1, "device": CPU}
    return Plan(**{**values, "levels": levels, **keys})  # type: ignore[arg-type]
