"""Units as the tokens of the level above."""

from __future__ import annotations

import numpy as np

from lsseq.training.teachers.units import Units


def cut(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, and whether a space stands behind each."""
    tokens = np.array([ord(symbol) for symbol in text if symbol != " "], np.uint8)
    cuts = np.zeros(len(tokens), np.bool_)
    cuts[np.cumsum([len(word) for word in text.split()]) - 1] = True
    return tokens, cuts


def test_equal_units_have_equal_numbers_and_rare_ones_share_the_last() -> None:
    units = Units.of(*cut("the cat the dog cat the cow"))
    assert units.size == 3
    numbers, ends = units.read(*cut("cat the cow the dog cat thecat"))
    cat, the = numbers[:2]
    rare = units.size - 1
    assert {cat, the} == {0, 1}
    assert numbers.tolist() == [cat, the, rare, the, rare, cat, rare]
    assert ends.tolist() == [2, 5, 8, 11, 14, 17, 23]


def test_the_last_unit_ends_with_the_text() -> None:
    tokens, cuts = cut("ab ab cd")
    cuts[-1] = False
    numbers, ends = Units.of(tokens, cuts).read(tokens, cuts)
    assert ends.tolist() == [1, 3, 5]
    assert numbers[0] == numbers[1] != numbers[2]
    assert not cuts[-1]
