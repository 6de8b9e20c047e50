"""Rows of `lsseq bench`."""

from __future__ import annotations

from dataclasses import replace

import kernels_at_hand as at_hand
import pytest

from lsseq.errors import RunError
from lsseq.measure import bench
from lsseq.measure.bench import GRID, LIMIT, estimate_seconds, measure
from lsseq.measure.case import Case, Shape

SHAPE = Shape(5, 6, batch=3, steps=7)
CASE = Case("LSTM", {"zoneout_cell": 0.5}, SHAPE)


def test_a_row() -> None:
    (row,) = measure([replace(CASE, backend="reference")], pairs=3, speed=1e9)
    assert row.backend == row.forward_backend == "reference"
    assert 0.0 < row.train.low <= row.train.median <= row.train.high
    assert row.tokens_per_second == pytest.approx(21 / row.train.seconds)
    assert row.gemm_fraction == pytest.approx(3 * (2 * 21 * 24 * 11) / row.train.seconds / 1e9)
    values = row.values()
    assert values["spread"]["train"] == [row.train.low, row.train.high]
    assert values["pairs"] == {"forward": 3, "train": 3}
    assert values["options"] == {"zoneout_cell": 0.5}


def test_operations_of_the_products() -> None:
    assert CASE.products == 2 * 21 * 4 * 6 * (5 + 6)
    assert Case("GRU", {}, replace(SHAPE, layers=2)).products == 2 * 21 * 3 * 6 * (5 + 6 + 6 + 6)
    assert Case("RNN", {}, SHAPE).products == 2 * 21 * 6 * (5 + 6)
    assert Case("LSTM", {"rank": 2}, SHAPE).products == 2 * 21 * 6 * (4 * 5 + 4 * 2 + 4 * 2)
    assert Case("GRU", {"rank": 2, "tied_rank": True}, replace(SHAPE, layers=2)).products == 2 * 21 * 6 * (
        3 * 11 + 2 * 8
    )
    both = {"rank": 2, "input_rank": 3}
    assert Case("GRU", both, SHAPE).products == 2 * 21 * (3 * 3 * (5 + 6) + 2 * 3 * (6 + 6))
    assert Case("GRU", {**both, "tied_rank": True}, SHAPE).products == 2 * 21 * (3 * (5 + 18) + 2 * (6 + 18))
    # W x, U h, V h of the layer above; W h of the layer below, U h and V h; W h and U h. Two layers have a detector.
    with_detector = (5 + 6 + 0.37 * 6) + (0.3 * 6 + 0.37 * 6 + 0.1 * 6)
    hm_lstm = Case("HMLSTM", {"boundary_rates": [0.3, 0.1]}, replace(SHAPE, layers=3))
    assert hm_lstm.products == pytest.approx(2 * 21 * (25 * with_detector + 24 * (0.1 * 6 + 0.1 * 6)), abs=1)


def test_nothing_is_timed_where_any_back_end_deviates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "compare", lambda *args, **kwargs: pytest.fail("timed"))
    cases = [replace(CASE, backend="reference"), replace(CASE, backend="fused")]
    with at_hand.fused(at_hand.output_off), pytest.raises(RunError, match="is not timed"):
        list(measure(cases, pairs=2, speed=1e9))


def test_how_long_it_takes() -> None:
    speed = CASE.products / 0.6  # the forward pass takes a second
    assert estimate_seconds([CASE], pairs=5, speed=speed) == pytest.approx(7 * 2 + 7 * 6)
    assert estimate_seconds([CASE] * 2, pairs=100, speed=speed) == pytest.approx(2 * (4 + LIMIT + 12 + LIMIT))


def test_the_grid_spans_what_it_says() -> None:
    for name, least, most in (("hidden", 128, 2048), ("batch", 1, 256), ("steps", 50, 1000)):
        values = [getattr(shape, name) for shape in GRID]
        assert (min(values), max(values)) == (least, most)
    assert len(set(GRID)) == len(GRID)
