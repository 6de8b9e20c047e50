"""The division of a text by a lexicon and a curve."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest

from lsseq.training.teachers.lexicon import LONGEST, NEW, Lexicon

END = 9


def units(*names: str) -> dict[str, int]:
    """Units of the tokens 0, 1 … spelled a, b …, each with the count behind its name."""
    return {"".join(chr(ord(letter) - ord("a")) for letter in name[:-1]): int(name[-1]) for name in names}


def test_it_counts_the_units_of_each_line() -> None:
    #                   a  b     a  b  \n   c  \n  \n  a  b  c
    tokens = np.array([0, 1, 0, 1, END, 2, END, END, 0, 1, 2])
    marks = np.zeros(len(tokens), np.bool_)
    marks[[1, 9]] = True
    assert dict(Lexicon.of(tokens, marks, END).counts) == units("ab3", "c2")
    marks[[3, 4, 5, 10]] = True  # ends of lines, marked or not
    assert dict(Lexicon.of(tokens, marks, END).counts) == units("ab3", "c2")
    assert dict(Lexicon.of(tokens[:4], marks[:4], None).counts) == units("ab2")


def log_p(lexicon: dict[str, int], unit: str) -> float:
    letters = "".join(name * count for name, count in lexicon.items())
    stop = (sum(lexicon.values()) + 1) / (len(letters) + 2)
    spelled = stop * (1 - stop) ** (len(unit) - 1)
    for letter in unit:
        spelled *= (letters.count(letter) + 1) / (len(letters) + len(set(letters)) + 1)
    return math.log((lexicon.get(unit, 0) + NEW * spelled) / (sum(lexicon.values()) + NEW))


@pytest.mark.parametrize("seed", range(5))
def test_the_division_is_the_best_of_all(seed: int) -> None:
    draw = np.random.default_rng(seed)
    lexicon = units("ab5", "abc3", "c4", "bca2")
    tokens, curve = draw.integers(0, 4, 9), draw.normal(size=9)  # d is in no unit
    text = "".join(map(chr, tokens))

    def value(inner: tuple[bool, ...]) -> float:
        cuts = [0, *(place + 1 for place in range(8) if inner[place]), 9]
        words = [text[a:b] for a, b in pairwise(cuts)]
        return sum(log_p(lexicon, word) for word in words) + sum(curve[cut] for cut in cuts[1:-1])

    best = max(product([False, True], repeat=8), key=value)
    assert Lexicon(lexicon).divide(tokens, curve, END).tolist() == [*best, True]


def test_lines_are_divided_one_by_one_and_their_ends_belong_to_no_unit() -> None:
    lexicon = Lexicon(units("ab9", "ba9"))
    tokens = np.array([0, 1, END, 1, 0, 0, 1, END, END, 0, 1])
    marks = lexicon.divide(tokens, np.zeros(len(tokens)), END)
    assert np.flatnonzero(marks).tolist() == [1, 4, 6, 10]


def test_the_curve_speaks_for_the_unit_that_ends_before() -> None:
    tokens = np.zeros(6, np.int64)
    curve = np.full(6, -9.0)
    curve[2] = 9.0
    assert np.flatnonzero(Lexicon(units("a1")).divide(tokens, curve, None)).tolist() == [1, 5]


def test_units_are_no_longer_than_allowed() -> None:
    tokens = np.zeros(3 * LONGEST, np.int64)
    marks = Lexicon({chr(0) * (2 * LONGEST): 5}).divide(tokens, np.full(len(tokens), -9.0), None)
    assert np.flatnonzero(marks).tolist() == [LONGEST - 1, 2 * LONGEST - 1, 3 * LONGEST - 1]
