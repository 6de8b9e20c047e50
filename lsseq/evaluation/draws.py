"""The networks of an ensemble: several trained ones, or several draws of the noise of one.

Shape letters: T time, B batch (streams or pieces side by side), N networks that are computed together, H features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lsseq.data.batches import Batch
from lsseq.errors import RequestError
from lsseq.evaluation.perplexity import evaluating
from lsseq.model.language_model import LanguageModel
from lsseq.nn.parts.statistics import step_norms
from lsseq.nn.random import by_row, part, watch
from lsseq.nn.state import State


class Member(Protocol):
    """Some networks of an ensemble that are computed together; each has a state of its own."""

    model: LanguageModel
    count: int
    """N."""

    def features(self, batch: Batch, fresh: bool) -> Tensor:
        """(T, N, B, H): what the output layer reads. With `fresh` the states start anew."""


class Network:
    """A model as it was trained, without noise."""

    count = 1

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.state: State = None

    def features(self, batch: Batch, fresh: bool) -> Tensor:
        with self._reading():
            features, self.state, _ = self.model.features(batch.inputs, None if fresh else self.state)
        return features.unsqueeze(1)

    def _reading(self) -> AbstractContextManager[None]:
        """How the model stands while it reads."""
        return evaluating(self.model)


class Drawn:
    """N draws of a model's noise as rows of one batch: row n·B + b reads stream b with draw n.

    A draw is one for the whole text: masks that hold for all steps of a window in training hold for the text, those of
    a step are new at each. So a draw is a function of the seed and the row, whatever the window. What training draws
    for a whole batch is drawn for each row, where rows may differ in it.

    Args:
        model: its noise is that of its training.
        count: N.
        seed: of all draws.
    """

    def __init__(self, model: LanguageModel, count: int, seed: int) -> None:
        self.model, self.count = model, count
        self.state: State = None
        self._seeds = np.random.default_rng(seed)
        self._seed = self._step = 0

    def features(self, batch: Batch, fresh: bool) -> Tensor:
        if fresh:
            # Another text, such as the next pieces, has masks of its own.
            self._seed, self._step, self.state = int(self._seeds.integers(2**63)), 0, None
        with part(self._seed, self._step), by_row(), noisy(self.model):
            inputs = batch.inputs.repeat(1, self.count)
            features, self.state, _ = self.model.features(inputs, self.state)
            dropped: Tensor = self.model.output_dropout(features)
        self._step += len(inputs)
        return dropped.reshape(len(inputs), self.count, -1, dropped.shape[-1])


def draw(model: LanguageModel, samples: int, seed: int, device: torch.device | str) -> list[Member]:
    """So many draws of a model's noise; the first ones are the same whatever their number.

    They are rows of one batch where every row can have noise of its own. Where all rows of a call share some (weights
    that are dropped, a random number of steps), a call is made for each.

    Raises:
        RequestError: the model has no noise.
    """
    with torch.inference_mode(), watch() as seen, part(0, 0), by_row(), noisy(model):
        model.logits(torch.zeros(1, 1, dtype=torch.int64, device=device))
    if not seen.masks:
        raise no_noise("--samples", "all draws would be the same")
    if not seen.of_the_call:
        return [Drawn(model, samples, seed)]
    return [Drawn(model, 1, int(own)) for own in np.random.default_rng(seed).integers(2**63, size=samples)]


def no_noise(option: str, so: str) -> RequestError:
    """The error of a model that has nothing to draw."""
    return RequestError(
        f"{option}: the model has no noise, so that {so}",
        hint="zoneout, dropout, stochastic depth, swapout and drop-path are noise; `lsseq eval RUN RUN` averages "
        "several runs",
    )


@contextmanager
def noisy(model: nn.Module) -> Iterator[None]:
    """The model with the noise of its training but the statistics of evaluation, and afterwards as it was."""
    training = model.training
    model.train()
    for norm in step_norms(model):
        norm.eval()
    try:
        yield
    finally:
        model.train(training)
