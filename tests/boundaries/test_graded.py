"""Rankings: exact for arrays, and from histograms."""

from __future__ import annotations

import numpy as np
import pytest
from boundary_scores import precision_by_rank, rank_correlation
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.boundaries.graded import Graded, as_degree, average_precision, spearman

degrees_and_marks = st.lists(st.tuples(st.integers(0, 64), st.booleans()), max_size=30).map(
    lambda pairs: (np.array([d / 64 for d, _ in pairs]), np.array([m for _, m in pairs], np.bool_))
)


@settings(deadline=None)
@given(degrees_and_marks)
def test_average_precision_is_its_definition(pair: tuple[np.ndarray, np.ndarray]) -> None:
    degree, marked = pair
    expected = precision_by_rank(degree.tolist(), marked.tolist())
    assert average_precision(degree, marked) == (expected and pytest.approx(expected))
    histogram = Graded()
    histogram.add(degree[:7], marked[:7])
    histogram.add(degree[7:], marked[7:])
    assert histogram.average_precision() == (expected and pytest.approx(expected))


@settings(deadline=None)
@given(degrees_and_marks)
def test_spearman_is_its_definition(pair: tuple[np.ndarray, np.ndarray]) -> None:
    degree, marked = pair
    expected = rank_correlation(marked.astype(float).tolist(), degree.tolist())
    ours = spearman(marked, degree)
    assert ours == (None if expected is None else pytest.approx(expected, abs=1e-12))
    histogram = Graded()
    histogram.add(degree, marked)
    assert histogram.spearman() == (None if ours is None else pytest.approx(ours, abs=1e-12))


def test_worked_by_hand() -> None:
    # From the highest: right, wrong, right: (1 + 2/3) / 2.
    assert average_precision(np.array([0.9, 0.5, 0.4]), np.array([True, False, True])) == pytest.approx(5 / 6)
    # All equal: the share of the marked.
    assert average_precision(np.full(4, 0.5), np.array([True, False, False, False])) == 0.25
    # Ranks 1, 2.5, 2.5, 4 with 1, 2, 3, 4: 1 - 0.5 / 10 but for ties; Pearson's of the ranks is 4.5 / sqrt(4.5 * 5).
    assert spearman(np.array([1.0, 2, 2, 9]), np.array([1.0, 2, 3, 4])) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)


def test_histograms_of_fine_degrees_are_near() -> None:
    draw = np.random.default_rng(0)
    degree, marked = draw.random(5000), draw.random(5000) < 0.3
    histogram = Graded()
    histogram.add(degree, marked)
    assert histogram.average_precision() == pytest.approx(average_precision(degree, marked), abs=1e-3)
    assert histogram.spearman() == pytest.approx(spearman(degree, marked), abs=1e-3)


def test_nats_keep_their_order() -> None:
    degree = as_degree(np.array([0.0, 0.5, 3.0, 20.0, np.nan], np.float32))
    assert degree[0] == degree[4] == 0.0
    assert 0 < degree[1] < degree[2] < degree[3] < 1
    assert degree[1] == pytest.approx(1 - np.exp(-0.5))
