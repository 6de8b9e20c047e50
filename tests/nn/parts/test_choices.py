"""Choices that are settled, and all ways that they can go; how probable the outcomes of coins and of steps are."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lsseq.nn as lnn
from lsseq.nn.parts.choices import Choice, Outcome, choices_of, following, settled, ways_of
from lsseq.nn.parts.coins import survival_rates, survival_ways, survivals
from lsseq.nn.random import Draws


def choice(*values: str) -> Choice:
    return Choice(len(values), lambda: (Outcome(value, 1 / len(values), value.upper()) for value in values))


def call(told: list[tuple[str, ...]]) -> None:
    """Draws twice, and once more after `b`."""
    first = settled(lambda: choice("a", "b"))
    second = settled(lambda: choice("x", "y", "z"))
    more = [settled(lambda: choice("1", "2"))] if first == "b" else []
    told.append((first, second, *more))


EVERY = [("a", one) for one in "xyz"] + [("b", one, two) for one in "xyz" for two in "12"]


def test_every_way_is_gone_once() -> None:
    told: list[tuple[str, ...]] = []
    ways = list(ways_of(lambda: call(told)))
    assert told == EVERY
    assert [tuple(outcome.value for outcome in way) for way in ways] == EVERY
    assert sum(math.prod(outcome.probability for outcome in way) for way in ways) == pytest.approx(1)


def test_a_way_is_followed_again() -> None:
    ways, told = list(ways_of(lambda: call([]))), []
    for way in ways:
        with following(way):
            call(told)
    assert told == EVERY


def test_choices_that_are_met() -> None:
    assert [one.ways for one in choices_of(lambda: call([]))] == [2, 3]
    assert settled(lambda: choice("a")) is None
    assert list(ways_of(lambda: None)) == [()]


def by_brute_force(rates: list[float], least: int) -> dict[tuple[bool, ...], float]:
    """All coins, and of those that fell all sets that can be brought back."""
    found: Counter[tuple[bool, ...]] = Counter()
    for coins in product((False, True), repeat=len(rates)):
        p = math.prod(rate if coin else 1 - rate for coin, rate in zip(coins, rates, strict=True))
        fallen = [l for l, coin in enumerate(coins) if not coin]
        sets = list(combinations(fallen, max(0, least - sum(coins))))
        for back in sets:
            alive = tuple(coin or l in back for l, coin in enumerate(coins))
            found[alive] += p / len(sets)  # type: ignore[assignment]
    return {alive: p for alive, p in found.items() if p > 0}


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]), min_size=1, max_size=5), st.data())
def test_which_parts_survive(rates: list[float], data: st.DataObject) -> None:
    least = data.draw(st.integers(0, len(rates)))
    found, expected = dict(survivals(rates, least)), by_brute_force(rates, least)
    assert found == pytest.approx(expected, rel=1e-12)
    assert survival_ways(rates, least) == len(found)
    sizes = [sum(alive) for alive, _ in survivals(rates, least)]
    assert sizes == sorted(sizes, reverse=True)
    each = [sum(p for alive, p in found.items() if alive[l]) for l in range(len(rates))]
    assert survival_rates(tuple(rates), least) == pytest.approx(each, rel=1e-12)


@pytest.mark.parametrize("steps", [lnn.RandomSteps(4, 6), lnn.RandomSteps(2.5, 4, 0.0), lnn.RandomSteps(3, 20, 0.8)])
def test_how_probable_numbers_of_steps_are(steps: lnn.RandomSteps) -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    rates = np.exp(np.log(steps.mean - 1) - steps.spread**2 / 2 + steps.spread * nodes)
    below = [
        float((weights * np.exp(-rates) * rates**n / math.factorial(n)).sum() / weights.sum())
        for n in range(steps.most - 1)
    ]
    p = steps.probabilities()
    assert p == pytest.approx([*below, 1 - sum(below)], abs=1e-9)
    K = 1500
    drawn = Counter(steps.draw(Draws(key * 2654435761 + 17)) for key in range(K))
    for n, one in enumerate(p, start=1):
        assert abs(drawn[n] / K - one) < 5 * (one / K) ** 0.5 + 1e-3


def test_one_step_is_certain() -> None:
    assert lnn.RandomSteps(1, 3).probabilities() == [1, 0, 0]


def test_steps_that_are_too_few_count_as_the_fewest() -> None:
    steps = lnn.RandomSteps(3, 5)
    taken: list[int] = []
    ways = list(ways_of(lambda: taken.append(steps.take(3))))
    assert taken == [5, 4, 3]
    p = steps.probabilities()
    assert [way[0].probability for way in ways] == pytest.approx([p[4], p[3], sum(p[:3])])
    assert [way[0].name for way in ways] == ["5 steps", "4 steps", "3 steps"]


def test_drop_path_for_all_rows() -> None:
    """Its outcomes with their probabilities, against coins and columns by hand."""
    path = lnn.DropPath(0.2, global_share=0.3)
    joins = [[3], [2, 3], [3], [1, 2, 3]]
    keep, fall = 0.8, 0.2
    of_two = {(True, True): keep**2, (True, False): keep * fall + fall**2 / 2, (False, True): keep * fall + fall**2 / 2}
    of_three = by_brute_force([keep] * 3, 1)
    expected: Counter[object] = Counter()
    for (two, p), (three, q) in product(of_two.items(), of_three.items()):
        expected[((True,), two, (True,), three)] += 0.7 * p * q  # type: ignore[assignment]
    for column in (1, 2, 3):
        three = tuple(n == column for n in (1, 2, 3))
        two = (column == 2, column == 3) if column > 1 else (True, True)
        expected[((True,), two, (True,), three)] += 0.1  # type: ignore[assignment]
    found: Counter[object] = Counter()
    for kept, p in path.outcomes(3, joins):
        found[kept] += p  # type: ignore[assignment]
    assert dict(found) == pytest.approx(dict(expected))
    assert path.ways(3, joins) == len(list(path.outcomes(3, joins))) == 3 * 7 + 3
    for share, ways in ((0.0, 21), (1.0, 3)):
        own = lnn.DropPath(0.2, global_share=share)
        assert own.ways(3, joins) == len(list(own.outcomes(3, joins))) == ways


def test_ways_of_a_fractal() -> None:
    """1 + 2 n² networks of one column more: both halves with the short layer or without it, or this alone."""
    for columns, networks in ((1, 1), (2, 3), (3, 19)):
        stack = lnn.FractalStack(partial(lnn.RNN, 2, 2), columns, drop_path=lnn.DropPath())
        ways = list(ways_of(lambda stack=stack: stack._alive(1)))  # type: ignore[misc]
        assert len({way[0].value for way in ways}) == networks
        assert len({way[0].name for way in ways}) == networks
        assert sum(way[0].probability for way in ways) == pytest.approx(1)
    assert ways[0][0].name == "columns 2+3, 1+2+3"
    assert ways[-1][0].name == "columns -, 1"
