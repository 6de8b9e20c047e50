"""Intervals cover what they promise to, and do not where neighbours are taken for independent."""

from __future__ import annotations

import numpy as np
import pytest

from lsseq.evaluation.interval import mean_interval, share_interval


def test_blocks_cover_the_mean_of_a_sequence_whose_neighbours_depend_on_each_other() -> None:
    draws = np.random.default_rng(0)
    sequences, length, memory = 400, 10_000, 0.9
    noise = draws.standard_normal((sequences, length))
    values = np.zeros_like(noise)
    for t in range(1, length):
        values[:, t] = memory * values[:, t - 1] + noise[:, t]
    covered = naive = 0
    for one in values:
        found = mean_interval(one)
        assert found is not None
        covered += found.low <= 0 <= found.high
        naive += abs(one.mean()) <= 1.96 * one.std() / length**0.5
    assert 0.91 <= covered / sequences <= 0.98
    assert naive / sequences < 0.5


def test_of_independent_values_it_is_the_usual_one() -> None:
    values = np.random.default_rng(1).standard_normal(1_000_000) + 5.0
    found = mean_interval(values)
    assert found is not None
    assert (found.blocks, found.length) == (100, 10_000)
    assert found.high - found.low == pytest.approx(2 * 1.96e-3, rel=0.25)
    assert (found.high + found.low) / 2 == pytest.approx(values.mean())


@pytest.mark.parametrize(("length", "blocks"), [(99, None), (100, 10), (2500, 50), (10_000, 100), (20_000, 100)])
def test_short_texts_have_fewer_blocks_or_no_interval(length: int, blocks: int | None) -> None:
    found = mean_interval(np.arange(float(length)))
    assert (None if found is None else found.blocks) == blocks


def test_equal_values_leave_no_doubt() -> None:
    found = mean_interval(np.full(1000, 2.5))
    assert found is not None
    assert found.low == found.high == 2.5
    assert str(found) == "95 %, normal approximation over the means of 31 blocks of 32 tokens"


@pytest.mark.parametrize(
    # Newcombe 1998, table I, Wilson's score method without correction.
    ("right", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_shares(right: int, count: int, low: float, high: float) -> None:
    assert share_interval(right / count, count) == pytest.approx((low, high), abs=5e-5)
