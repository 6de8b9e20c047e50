"""Averages of the weights along the training: what is evaluated and kept while the weights themselves train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lsseq.recipe import schema


class Averaging:
    """The running average of a model's parameters.

    - `asgd`: the plain mean over all steps from epoch `start` on (Polyak & Juditsky 1992).
    - `nt-asgd`: the same from the first evaluation on that is not better than the best of all before it but the last
      `patience` (Merity et al. 2018, algorithm 1: the non-monotonic trigger).
    - `ema`: a ← decay · a + (1 - decay) · w after each step, beginning with the weights after the first.
    """

    def __init__(self, averaging: schema.Averaging, model: nn.Module) -> None:
        self._averaging = averaging
        self._parameters: dict[str, Tensor] = {
            name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
        }
        self._average: list[Tensor] = []
        self._count = 0
        self._triggered = False
        self._history: list[float] = []

    @property
    def active(self) -> bool:
        """Whether there is an average already."""
        return self._count > 0

    @torch.no_grad()
    def stepped(self, epoch: int) -> None:
        """Take in the weights after a step of the optimiser; `epoch` is the number of whole epochs before it."""
        kind = self._averaging.kind
        if not (kind == "ema" or (kind == "asgd" and epoch >= self._averaging.start) or self._triggered):
            return
        weights = list(self._parameters.values())
        self._count += 1
        if self._count == 1:
            self._average = [weight.detach().clone() for weight in weights]
            return
        share = 1.0 - self._averaging.decay if kind == "ema" else 1.0 / self._count
        torch._foreach_lerp_(self._average, weights, share)

    def evaluated(self, nll: float) -> None:
        """Take note of an evaluation on the validation split."""
        if self._averaging.kind != "nt-asgd" or self._triggered:
            return
        compared = self._history[: max(0, len(self._history) - self._averaging.patience)]
        self._triggered = bool(compared) and nll >= min(compared)
        self._history.append(nll)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, where there are any, and its own again after it."""
        if not self.active:
            yield
            return
        parameters = list(self._parameters.values())
        own = [parameter.detach().clone() for parameter in parameters]
        try:
            # Copies into the same memory: kernels may hold on to where the weights lie.
            torch._foreach_copy_(parameters, self._average)
            yield
        finally:
            torch._foreach_copy_(parameters, own)

    def own_weights(self) -> dict[str, Tensor]:
        """The weights that train on, by name, where they are not what the model is evaluated with."""
        return {name: parameter.detach() for name, parameter in self._parameters.items()} if self.active else {}

    def state(self) -> dict[str, Any]:
        return {"count": self._count, "triggered": self._triggered, "history": self._history}

    @torch.no_grad()
    def restore(self, state: dict[str, Any], own_weights: Mapping[str, Tensor]) -> None:
        """Go on from a saved state, in a model that was given the averaged weights."""
        self._count, self._triggered = state["count"], state["triggered"]
        self._history = [float(nll) for nll in state["history"]]
        if not self.active:
            return
        self._average = [parameter.detach().clone() for parameter in self._parameters.values()]
        for name, parameter in self._parameters.items():
            parameter.copy_(own_weights[name])
