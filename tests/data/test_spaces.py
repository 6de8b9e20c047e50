"""Spaces taken out of a text, and counted."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lsseq.data.spaces import SpaceCounter, offset_with_spaces, without_spaces


@given(
    text=st.text(alphabet="aé😀 \n", max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    by_character=st.booleans(),
)
def test_spaces_are_counted_behind_every_symbol_however_the_text_is_cut(text, cuts, by_character):
    marks = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    counter = SpaceCounter(by_character=by_character)
    parts = [counter.read(text[a:b].encode()) for a, b in itertools.pairwise(marks)]
    counts = np.concatenate([*parts, counter.rest()]).tolist()
    symbols = text if by_character else [bytes([byte]) for byte in text.encode()]
    expected: list[int] = []
    for symbol in symbols:
        if symbol not in (" ", b" "):
            expected.append(0)
        elif expected:
            expected[-1] += 1
    assert counts == expected


def test_long_runs_are_counted_up_to_a_byte():
    counter = SpaceCounter(by_character=True)
    counter.read(b"a" + b" " * 1000)
    assert counter.rest().tolist() == [255]


def test_places_are_those_of_the_text_with_spaces():
    block = b" ab  c"
    assert without_spaces(block) == b"abc"
    assert [offset_with_spaces(block, offset) for offset in range(3)] == [1, 2, 5]
