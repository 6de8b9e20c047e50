"""Two computations timed side by side."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lsseq.measure.machine import clock

_SHORTEST = 0.005
"""Seconds that a run should take at least: shorter ones are repeated."""
WARM_UP = 2
"""How often `compare` runs each computation before those runs that count."""


@dataclass(frozen=True)
class Ratio:
    """The time of one computation over that of another."""

    low: float
    median: float
    high: float
    """Quartiles over the pairs of neighbouring runs."""
    mean: float
    """All the time of the one over all that of the other: of use where the work is drawn anew in each run."""
    seconds: float
    """Median time of the first computation."""
    pairs: int


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], device: torch.device, *, pairs: int, limit: float
) -> Ratio:
    """Run two computations in turn, so that a busy machine slows both alike.

    What counts is the time of `machine.clock`.
    A first pair, which allocates memory and chooses kernels, does not count; a second says how often a short
    computation is repeated in each run. Then come `pairs` pairs, or as many (at least 2) as `limit` seconds allow.
    """
    both = (ours, theirs)
    for run in both:
        _time(run, device)
    repeats = max(1, math.ceil(_SHORTEST / min(_time(run, device) for run in both)))
    times: list[list[float]] = []
    begin = time.perf_counter()
    while len(times) < pairs and (len(times) < 2 or time.perf_counter() - begin < limit):
        times.append([_time(run, device, repeats) for run in both])
    low, median, high = statistics.quantiles((first / second for first, second in times), method="inclusive")
    mean = sum(first for first, _ in times) / sum(second for _, second in times)
    return Ratio(low, median, high, mean, statistics.median(first for first, _ in times) / repeats, len(times))


def forward(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    """The forward pass in evaluation, without gradients."""
    layer.eval()

    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def train(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    """Forward and backward in training: the gradients of the parameters and of the input.

    What a layer gives first is its output, or a tuple of outputs, all of which want a gradient.
    """
    layer.train()

    def run() -> None:
        layer.zero_grad()
        x.grad = None
        output = layer(x)[0]
        parts = output if isinstance(output, tuple) else (output,)
        torch.autograd.backward([part.sum() for part in parts])

    return run


def _time(run: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    begin = clock(device)
    for _ in range(repeats):
        run()
    return clock(device) - begin
