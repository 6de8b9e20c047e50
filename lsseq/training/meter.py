"""What is summed up between two lines of the log, and the time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Clock:
    """Seconds of a training over all its sessions: in all, and without evaluations and saves.

    It stands until it is started: what comes before the first step, such as teachers of detectors, does not count.
    """

    def __init__(self) -> None:
        self._before = 0.0
        self._start: float | None = None
        self._aside = 0.0

    def start(self) -> None:
        self._start = time.perf_counter()

    def total(self) -> float:
        return self._before + (0.0 if self._start is None else time.perf_counter() - self._start)

    def training(self) -> float:
        return self.total() - self._aside

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What happens inside is not training."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._aside += time.perf_counter() - begin

    def state(self) -> dict[str, Any]:
        return {"total": self.total(), "aside": self._aside}

    def restore(self, state: dict[str, Any]) -> None:
        self._before, self._aside = state["total"], state["aside"]


class Meter:
    """Sums since the last train line. They stay on the device, so that adding to them waits for nothing."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._finite = torch.zeros(2, dtype=torch.int64, device=device)
        self.targets = 0
        self.tokens = 0
        self.steps = 0
        self.since = 0.0
        """The clock's training seconds at the last line."""

    def add(self, nll: Tensor, norm: Tensor, targets: int, tokens: int) -> None:
        """Add a step: its mean nll in nats a target, the norm of its gradient, the targets, and the tokens it read."""
        self._sums += torch.stack([nll.double() * targets, norm.double()])
        # Sums stay as they are once they are not finite; inf - inf is no number.
        self._finite += (self._sums - self._sums) == 0.0
        self.targets += targets
        self.tokens += tokens
        self.steps += 1

    def means(self) -> tuple[float, float]:
        """The nll a target and the gradient norm a step; waits for the device. NaN where there was no step."""
        nll, norm = self._sums.tolist()
        return (nll / self.targets, norm / self.steps) if self.steps else (float("nan"), float("nan"))

    def finite(self) -> tuple[int, int]:
        """How many steps there were before the first nll, and before the first norm, that is not finite."""
        nll, norm = self._finite.tolist()
        return nll, norm

    def reset(self, since: float) -> None:
        self._sums.zero_()
        self._finite.zero_()
        self.targets = self.tokens = self.steps = 0
        self.since = since

    def state(self) -> dict[str, Any]:
        counts = {"targets": self.targets, "tokens": self.tokens, "steps": self.steps}
        return {"sums": self._sums.tolist(), **counts, "since": self.since}

    def restore(self, state: dict[str, Any]) -> None:
        self._sums.copy_(torch.tensor(state["sums"], dtype=torch.float64))
        # In a text every token is a target; checkpoints from before there were tasks say it once.
        self.targets = state.get("targets", state["tokens"])
        self.tokens, self.steps, self.since = state["tokens"], state["steps"], state["since"]
        # What was saved was finite; older checkpoints do not say it.
        self._finite.fill_(self.steps)
