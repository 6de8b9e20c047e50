"""Computations are timed in turn, by a clock of the test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lsseq.measure import timing
from lsseq.measure.timing import compare, forward, train

CPU = torch.device("cpu")


class Clock:
    """A clock that only the timed computations move; `order` notes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.order = 0.0, ""
        for name in ("perf_counter", "process_time"):
            monkeypatch.setattr(timing.time, name, lambda: self.now)

    def takes(self, name: str, *seconds: float) -> Callable[[], None]:
        """A computation that takes so long, its first runs first."""
        left = list(seconds)

        def run() -> None:
            self.order += name
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_ratios_of_neighbours(clock: Clock) -> None:
    ours = clock.takes("A", 100.0, 100.0, 1.0, 2.0, 3.0)
    ratio = compare(ours, clock.takes("B", 50.0, 50.0, 1.0), CPU, pairs=3, limit=60.0)
    # The first two pairs do not count.
    assert clock.order == "ABABABABAB"
    assert (ratio.low, ratio.median, ratio.high) == (1.5, 2.0, 2.5)
    assert (ratio.seconds, ratio.pairs) == (2.0, 3)


@pytest.mark.parametrize(("limit", "pairs"), [(0.0, 2), (9.5, 4), (60.0, 10)])
def test_a_limit_in_seconds(clock: Clock, limit: float, pairs: int) -> None:
    ratio = compare(clock.takes("A", 2.0), clock.takes("B", 1.0), CPU, pairs=10, limit=limit)
    assert (ratio.pairs, ratio.median) == (pairs, 2.0)


def test_short_computations_are_repeated(clock: Clock) -> None:
    ratio = compare(clock.takes("A", 0.002), clock.takes("B", 0.001), CPU, pairs=2, limit=60.0)
    assert clock.order == "ABAB" + 2 * ("A" * 5 + "B" * 5)
    assert ratio.median == pytest.approx(2.0)
    assert ratio.seconds == pytest.approx(0.002)


def test_what_is_timed() -> None:
    layer, x = nn.LSTM(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    forward(layer, x)()
    assert not layer.training
    assert x.grad is None
    run = train(layer, x)
    run()
    assert layer.training
    gradients = [tensor.grad.clone() for tensor in (x, *layer.parameters())]
    run()
    # They are not added up.
    assert all(torch.equal(tensor.grad, g) for tensor, g in zip((x, *layer.parameters()), gradients, strict=True))
