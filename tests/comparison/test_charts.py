"""Curves and points: round ticks, thinned lines, and a place for every value."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.comparison.charts import POINTS, Axis, Series, curves, scatter


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.0, 10.0, [0, 2, 4, 6, 8, 10]), (1.31, 1.52, [1.35, 1.4, 1.45, 1.5]), (-1.0, 1.0, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert Axis(low, high, 0, 1).ticks() == pytest.approx(ticks)


def test_ticks_of_a_logarithmic_axis() -> None:
    assert Axis(3e4, 3e6, 0, 1, log=True).ticks() == pytest.approx([5e4, 1e5, 2e5, 5e5, 1e6, 2e6])
    assert Axis(1.0, 1e9, 0, 1, log=True).ticks() == pytest.approx([10.0**n for n in range(10)])
    # On a short one powers of ten would leave nothing.
    assert len(Axis(300.0, 900.0, 0, 1, log=True).ticks()) >= 3


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=6), st.booleans())
def test_every_value_has_a_place_in_the_picture(values: list[float], log: bool) -> None:
    axis = Axis.over(values, 10.0, 90.0, log=log)
    for value in [*values, *axis.ticks()]:
        assert 10.0 - 1e-6 <= axis.at(value) <= 90.0 + 1e-6


@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=4))
def test_the_largest_and_the_smallest_differences(values: list[float]) -> None:
    axis = Axis.over(values, 10.0, 90.0)
    assert len(axis.ticks()) <= 12
    for value in values:
        assert 10.0 - 1e-6 <= axis.at(value) <= 90.0 + 1e-6


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    picture = curves([Series("a", 0, [(float(t), math.sin(t)) for t in range(5000)])], "step", "nll")
    (points,) = re.findall(r'points="([^"]*)"', picture)
    places = points.split()
    assert POINTS / 2 < len(places) <= POINTS + 1
    assert places[0].startswith("56.0,")
    assert places[-1].startswith("614.0,")


def test_ticks_that_lie_close_together_have_texts_of_their_own() -> None:
    picture = scatter([Series("a", 0, [(1_204_897.0, 1.5), (1_205_042.0, 1.6)])], "parameters", "bpc")
    texts = re.findall(r'text-anchor="middle">([^<]*)<', picture)
    assert len(texts) >= 3
    assert len(set(texts)) == len(texts)
    assert all(re.fullmatch(r"1\.20\d+M", text) for text in texts)


def test_names_are_text_and_series_look_different() -> None:
    series = [Series(f"<b>{n}", n, [(1.0, 2.0), (2.0, 1.0)]) for n in range(24)]
    picture = curves(series, "<x>", "y")
    assert "<b>" not in picture
    assert "<x>" not in picture
    assert len(set(re.findall(r"<polyline (.*?) points", picture))) == 24


def test_a_single_point_is_seen() -> None:
    assert curves([Series("a", 0, [(5.0, 0.0)])], "step", "nll").count("<circle") == 1
    assert scatter([Series("a", 0, [(5.0, 1.0)])], "parameters", "bpc").count("<circle") == 1


def test_a_colour_that_comes_again_has_another_line_and_another_point() -> None:
    first, second, third = (scatter([Series("a", style, [(5.0, 1.0)])], "parameters", "bpc") for style in (0, 8, 16))
    assert 'class="s1"' in first
    assert "dasharray" not in first
    assert 'class="s1 open"' in second
    assert 'class="s1 open"' in third
    assert second != third
