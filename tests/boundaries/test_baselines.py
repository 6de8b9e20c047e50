"""Detectors without training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.boundaries import baselines


def test_a_peak_marks_the_symbol_before_it() -> None:
    #                    0    1    2    3    4    5    6    7
    curve = np.array([9.0, 1.0, 4.0, 4.0, 1.0, 2.0, 3.0, 9.0])
    # 2 is above 1 and at least 3, so a peak; 3 is not above 2; 7 and 0 lack a neighbour.
    assert np.flatnonzero(baselines.peaks(curve)).tolist() == [1]
    assert not baselines.peaks(np.array([np.nan, 5.0, 1.0])).any()
    for T in range(3):
        assert baselines.peaks(np.ones(T)).tolist() == [False] * T


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 500))
def test_stride_keeps_the_rate(rate: float, T: int) -> None:
    fires = np.flatnonzero(baselines.stride(np.arange(T), rate))
    assert abs(len(fires) - T * rate) <= 1
    gaps = np.diff(fires)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_a_stride_of_three() -> None:
    assert np.flatnonzero(baselines.stride(np.arange(8), 1 / 3)).tolist() == [2, 5]


def test_random_is_a_function_of_seed_and_position() -> None:
    positions = np.arange(20000)
    fires = baselines.random(positions, 0.27, 1)
    assert fires.mean() == pytest.approx(0.27, abs=0.01)
    assert (fires[100:200] == baselines.random(positions[100:200], 0.27, 1)).all()
    # Neighbours, and other seeds, are independent: they agree in 0.27² + 0.73² of the places.
    assert (fires[1:] == fires[:-1]).mean() == pytest.approx(0.606, abs=0.015)
    assert (fires == baselines.random(positions, 0.27, 2)).mean() == pytest.approx(0.606, abs=0.015)
    assert baselines.random(positions, 1.0, 1).all()
    assert not baselines.random(positions, 0.0, 1).any()
