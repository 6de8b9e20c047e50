"""The sub-networks of a model whose noise has few outcomes that hold for a whole text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

import torch

from lsseq.errors import RequestError
from lsseq.evaluation.draws import Network, no_noise, noisy
from lsseq.model.language_model import LanguageModel
from lsseq.nn.parts.choices import Way, choices_of, following, ways_of
from lsseq.nn.random import part, watch

MOST = 64
"""More ways are not enumerated."""


class SubNetwork(Network):
    """A model whose noise goes one way."""

    def __init__(self, model: LanguageModel, way: Way) -> None:
        super().__init__(model)
        self.way = way
        self.probability = prod(outcome.probability for outcome in way)
        self.name = "; ".join(outcome.name for outcome in way)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with following(self.way), noisy(self.model):
            yield


def sub_networks(model: LanguageModel, device: torch.device | str) -> list[SubNetwork]:
    """All sub-networks, each with the probability of its path, the likeliest first.

    Ways that the coins can fall that give the same network count as one.

    Raises:
        RequestError: the model has no noise, some of it is of rows, steps or units, or the coins can fall in more than
            `MOST` ways.
    """

    def read(steps: int) -> None:
        with noisy(model):
            model.logits(torch.zeros(steps, 1, dtype=torch.int64, device=device))

    instead = "--samples K averages K draws of any noise"
    with torch.inference_mode(), watch() as seen, part(0, 0):
        choices, of_two = (choices_of(lambda steps=steps: read(steps)) for steps in (1, 2))  # type: ignore[misc]
        if not choices and not seen.masks:
            raise no_noise("--exact", "there is nothing to enumerate")
        if seen.masks or len(choices) != len(of_two):
            raise RequestError(
                "--exact: there are too many sub-networks to count: some noise has a coin a step, unit or weight "
                "(zoneout, dropout, swapout, weight drop, layers dropped over a `step`)",
                hint=instead,
            )
        ways = prod(choice.ways for choice in choices)
        if ways > MOST:
            raise RequestError(
                f"--exact: the coins can fall in {ways:,} ways, and at most {MOST} are enumerated", hint=instead
            )
        found: dict[tuple[object, ...], SubNetwork] = {}
        for way in ways_of(lambda: read(1)):
            own = SubNetwork(model, way)
            same = found.setdefault(tuple(outcome.value for outcome in way), own)
            if same is not own:
                same.probability += own.probability
    return sorted(found.values(), key=lambda one: -one.probability)
