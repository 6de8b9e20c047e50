"""One teacher: a language model that reads a text in one direction, and its curves.

Shape letters: N tokens, T tokens of a stretch, C curves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lsseq.boundaries.chunk import Floats
from lsseq.boundaries.reading import STREAMS, Seen, Tokens, read
from lsseq.data.batches import training_windows
from lsseq.data.stretches import ArrayText
from lsseq.model.factory import build_model
from lsseq.model.language_model import LanguageModel
from lsseq.recipe import schema
from lsseq.training.state import LoopState
from lsseq.training.step import make_step

BATCH, BPTT = 32, 50
"""Of the windows that teachers are trained on."""


@dataclass(frozen=True)
class View:
    """How a teacher sees a text."""

    backward: bool
    """It reads the last token first."""
    start: int | None
    """What is read before the first token; None for a vector of zeros."""
    watch: int | None
    """Its curve is the log-probability of this token, such as the end of a line, in nats; without it there are two,
    surprisal and entropy, each divided by its standard deviation."""
    device: torch.device


@dataclass(frozen=True)
class Teacher:
    """A trained language model, and the scales of its curves on the training text."""

    model: LanguageModel
    view: View
    scales: list[list[float]]
    """C pairs: the mean, and what the curve is divided by."""

    def add_to(self, total: Floats, tokens: Tokens) -> None:
        """Add the curves to `total`, less their means and divided by their scales.

        Args:
            total: (N,), changed: a unit that ends before token t shows at t, whatever the direction of reading.
            tokens: (N,), in the order of the text.
        """
        mean, scale = np.array(self.scales, np.float32).T
        for place, curves in _curves(self.model, self.view, tokens):
            total[place] += ((curves - mean) / scale).sum(-1)


def new_model(size: int, settings: schema.Teachers) -> LanguageModel:
    """The language model of a teacher, untrained, for a vocabulary of a size."""
    dropout = schema.Dropout(output=settings.dropout)
    recipe = schema.Model(hidden=settings.hidden, embedding=settings.embedding, dropout=dropout)
    return build_model(recipe, size)


def train_teacher(tokens: Tokens, size: int, settings: schema.Teachers, view: View) -> Teacher:
    """Train a teacher; its weights and its dropout come from torch's generator.

    Args:
        tokens: (N,), in the order of the text.
        size: of the vocabulary.
        settings: of the model and its training.
        view: how it reads.
    """
    text = tokens[::-1] if view.backward else tokens
    batch = max(1, min(BATCH, len(text) // BPTT))
    training = schema.Training(steps=settings.steps, batch=batch, bptt=BPTT, lr=2e-3, clip=1.0)
    model = new_model(size, settings).to(view.device)
    state = LoopState.start(model, training_windows(text, training, view.start), training, view.device)
    while state.step < settings.steps:
        make_step(state, training)
    model.eval()
    curves = np.concatenate([values for _, values in _curves(model, view, tokens)])
    mean, deviation = curves.mean(0, dtype=np.float64), curves.std(0, dtype=np.float64)
    if view.watch is not None:
        deviation[:] = 1.0  # evidence in nats
    scales = np.stack([mean, np.where(deviation > 0, deviation, 1.0)], axis=1)
    return Teacher(model, view, scales.tolist())


def _curves(model: LanguageModel, view: View, tokens: Tokens) -> Iterator[tuple[slice, Floats]]:
    """The curves (T, C) of stretches of a text, and where they belong.

    A unit that ends before token t makes t a surprise to who reads forward, and t - 1 to who reads backward: its curves
    are moved on by one token. What it makes of the last token belongs to no place.
    """
    N = len(tokens)
    text = tokens[::-1] if view.backward else tokens
    for seen in read(model, ArrayText(text, None), view.start, streams=STREAMS, device=view.device, watch=view.watch):
        curves = _curves_of(seen)
        first = seen.start
        if view.backward:
            last = N - first  # one behind the place of the first token that was read
            curves = curves[::-1]
            first = last + 1 - len(curves)
            curves = curves[: N - first]
        yield slice(first, first + len(curves)), curves


def _curves_of(seen: Seen) -> Floats:
    curves = (seen.surprisal, seen.entropy) if seen.watched is None else (seen.watched,)
    return np.stack(curves, axis=-1)
