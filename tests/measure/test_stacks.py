"""Stacks with noise beside the same without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

import lsseq.nn as lnn
from lsseq.measure import bench, timing
from lsseq.measure.bench import measure
from lsseq.measure.case import Case, Shape
from lsseq.measure.stacks import COMPARISONS, Calls, StackCase
from lsseq.measure.timing import WARM_UP, Ratio

LAYER = Case("GRU", {}, Shape(6, 6, batch=3, steps=5), "reference")


@pytest.mark.parametrize("name", list(COMPARISONS))
def test_the_noise_is_the_only_difference(name: str) -> None:
    case = StackCase(name, LAYER, 3)
    ours, theirs, x = case.ours(), case.theirs(), case.sequence()
    theirs.load_state_dict(ours.state_dict())
    noisy, plain = ours(x)[0], theirs(x)[0]
    assert torch.equal(theirs(x)[0], plain)
    for _ in range(20):  # few layers may all be kept
        if not torch.equal(noisy, plain):
            break
        noisy = ours(x)[0]
    else:
        pytest.fail("there is no noise")


def test_what_is_measured() -> None:
    case = StackCase("drop-path", replace(LAYER, options={"zoneout_hidden": 0.5}), 2)
    assert case.name == "drop-path: GRU(zoneout_hidden=0.5)"
    assert case.shape == Shape(6, 6, batch=3, steps=5, layers=2)
    assert case.what() == {"stack": "drop-path", "cell": "GRU", "options": {"zoneout_hidden": 0.5}}
    # Two blocks of seven layers; W and U of three gates.
    assert case.products == 14 * 2 * 15 * 3 * 6 * (6 + 6)


def test_calls_of_layers_are_counted() -> None:
    stack = lnn.ResidualStack([lnn.GRU(4, 4) for _ in range(3)])
    calls, x = Calls(stack), torch.randn(2, 1, 4)
    stack(x)
    stack(x)
    stack.layers[0](x)  # counts for the call before
    assert calls.take(0) == 3.5
    stack(x)
    stack(x)
    assert calls.take(1) == 3
    single = lnn.GRU(4, 4)
    calls = Calls(single)
    single(x)
    assert calls.take(0) == 1


def test_saved_time_is_that_of_the_layers_that_were_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer takes a second, by a clock of the test; so does all else in a call of the stack."""
    now = 0.0

    def takes_a_second(*_: object) -> None:
        nonlocal now
        now += 1.0

    built = COMPARISONS["stochastic-depth"].build

    def build(make: Callable[[], nn.Module], layers: int, **noise: object) -> nn.Module:
        stack = built(make, layers, **noise)
        for part in (stack, *stack.layers):
            part.register_forward_hook(takes_a_second)
        return stack

    monkeypatch.setitem(COMPARISONS, "stochastic-depth", replace(COMPARISONS["stochastic-depth"], build=build))
    monkeypatch.setattr(timing, "clock", lambda _: now)
    torch.manual_seed(0)
    (row,) = measure([StackCase("stochastic-depth", LAYER, 8)], pairs=40, speed=1e9)
    assert row.forward.median == 1.0
    assert row.train.mean == pytest.approx((1 + 8 * row.computed) / 9)
    # Survival falls in line from 1 to a half, so that the mean is 1 - 9/16 · 1/2.
    assert row.computed == pytest.approx(1 - 9 / 32, abs=0.1)
    assert row.saved == pytest.approx(8 / 9)
    assert row.values()["saved"] == row.saved
    assert row.gemm_fraction == pytest.approx(
        3 * StackCase("stochastic-depth", LAYER, 8).products * row.computed / row.train.seconds / 1e9
    )


def test_warm_up_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(ours: Callable[[], object], *_: object, **__: object) -> Ratio:
        for _ in range(WARM_UP + 3):
            ours()
        return Ratio(0.5, 0.5, 0.5, 0.5, 1.0, 3)

    taken = []
    monkeypatch.setattr(bench, "compare", compare)
    monkeypatch.setattr(Calls, "take", lambda calls, first: taken.append((first, len(calls.of_each))) or 1.0)
    list(measure([StackCase("swapout", LAYER, 2)], pairs=3, speed=1e9))
    assert taken[0] == (WARM_UP, WARM_UP + 3)
