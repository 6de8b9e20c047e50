"""Schedules against their closed forms, and against torch's where it has them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lsseq.recipe.schema import Schedule as Section
from lsseq.training.schedule import Patience, Schedule


def schedule(steps: int | None = None, **keys: Any) -> Schedule:
    return Schedule(Section(**keys), steps)


def test_constant() -> None:
    assert [schedule().factor(step, epoch) for step, epoch in [(1, 0), (50, 3)]] == [1.0, 1.0]


def test_warmup_rises_linearly() -> None:
    factors = [schedule(warmup=4).factor(step, 0) for step in range(1, 7)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_is_torchs() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.1)
    ours = schedule(20, kind="cosine", final=0.1)
    for step in range(1, 21):
        assert ours.factor(step, 0) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()
    assert ours.factor(21, 0) == ours.factor(500, 0) == pytest.approx(0.1)


def test_cosine_after_warmup() -> None:
    ours = schedule(30, kind="cosine", warmup=10)
    assert ours.factor(5, 0) == 0.5
    for step in range(11, 31):
        assert ours.factor(step, 0) == pytest.approx((1 + math.cos(math.pi * (step - 11) / 20)) / 2, abs=1e-12)


def test_milestones() -> None:
    ours = schedule(kind="step", milestones=[3, 5], factor=0.1)
    assert [ours.factor(1, epoch) for epoch in range(7)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_after_falls_from_the_end_of_that_epoch_on() -> None:
    """Zaremba et al. 2014: 14 epochs at the full rate, then divided by 1.15 each epoch."""
    ours = schedule(kind="step", after=14, factor=1 / 1.15)
    for epoch in range(20):
        assert ours.factor(1, epoch) == pytest.approx(1.15 ** -max(0, epoch - 13))


@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_is_torchs(patience: int) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=0.0, eps=0.0, threshold_mode="abs"
    )
    ours = schedule(kind="plateau", factor=0.5, patience=patience)
    for nll in torch.rand(40, generator=generator).tolist():
        theirs.step(nll)
        ours.evaluated(nll)
        assert ours.factor(1, 0) == optimizer.param_groups[0]["lr"]
    assert ours.factor(1, 0) < 1.0


def test_state_comes_back() -> None:
    ours = schedule(kind="plateau", patience=1)
    for nll in (1.0, 2.0, 2.0, 2.0):
        ours.evaluated(nll)
    again = schedule(kind="plateau", patience=1)
    again.restore(ours.state())
    for both in (ours, again):
        both.evaluated(3.0)
    assert ours.factor(1, 0) == again.factor(1, 0) == 0.25


def test_patience_counts_what_brings_no_improvement() -> None:
    patience = Patience()
    waited = []
    for nll in (2.0, 1.0, 1.0, 1.5, 0.5, math.nan):
        patience.evaluated(nll)
        waited.append(patience.waited)
    assert waited == [0, 0, 1, 2, 0, 1]
