"""A lexicon of the units that a curve marks, and the division of a text that is likeliest by both.

Shape letters: N tokens.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from lsseq.boundaries.chunk import Bools, Floats, Ints

LONGEST = 16
"""Tokens of a unit that is looked for."""
NEW = 20.0
"""Weight of units that were not seen, in occurrences."""


@dataclass(frozen=True)
class Lexicon:
    """How often each unit occurs; a unit is a string of characters that stand for its tokens by their numbers.

    p(unit) = (count + NEW p₀) / (all counts + NEW), where p₀ spells it letter by letter with letters as frequent as in
    the lexicon and the mean length of its units: the unigram model of Goldwater, Griffiths and Johnson 2009.
    """

    counts: Mapping[str, int]

    @classmethod
    def of(cls, tokens: Ints, marks: Bools, line_end: int | None) -> Lexicon:
        """The units of a text.

        Args:
            tokens: (N,).
            marks: (N,), a unit ends after the token.
            line_end: the token that ends a line and is no part of a unit.
        """
        text = _text(tokens)
        counts: Counter[str] = Counter()
        for first, last in _lines(tokens, line_end):
            cuts = [first, *(np.flatnonzero(marks[first : last - 1]) + first + 1).tolist(), last]
            counts.update(text[start:end] for start, end in pairwise(cuts))
        return cls(counts)

    def divide(self, tokens: Ints, curve: Floats, line_end: int | None) -> Bools:
        """(N,): a unit ends after the token, in the division of each line with the largest sum of log p(unit) and of
        the curve where units end.

        Args:
            tokens: (N,).
            curve: (N,), in nats: what stands at t speaks for a unit that ends before t, 0 on average.
            line_end: the token that ends a line and is no part of a unit.
        """
        text = _text(tokens)
        ends = np.append(curve[1:], 0.0).tolist()
        marks = np.zeros(len(tokens), np.bool_)
        known: dict[str, float] = {}
        for first, last in _lines(tokens, line_end):
            # score[j]: of the best division of the first j tokens of the line; where its last unit begins.
            score, begins = [0.0], [0]
            for j in range(1, last - first + 1):
                best, begin = -math.inf, 0
                for i in range(max(0, j - LONGEST), j):
                    unit = text[first + i : first + j]
                    if (log_p := known.get(unit)) is None:
                        log_p = known[unit] = self._log_p(unit)
                    if score[i] + log_p > best:
                        best, begin = score[i] + log_p, i
                score.append(best + ends[first + j - 1])
                begins.append(begin)
            j = last - first
            while j > 0:
                marks[first + j - 1] = True
                j = begins[j]
        return marks

    def _log_p(self, unit: str) -> float:
        letters, all_letters, units = self._sums
        stop = (units + 1) / (all_letters + 2)
        spelled = math.log(stop) + (len(unit) - 1) * math.log1p(-stop)
        spelled += sum(math.log((letters[letter] + 1) / (all_letters + len(letters) + 1)) for letter in unit)
        return math.log((self.counts.get(unit, 0) + NEW * math.exp(spelled)) / (units + NEW))

    @cached_property
    def _sums(self) -> tuple[Counter[str], int, int]:
        """How often each letter occurs, all letters, and all units."""
        letters: Counter[str] = Counter()
        for unit, count in self.counts.items():
            for letter in unit:
                letters[letter] += count
        return letters, letters.total(), sum(self.counts.values())


def _text(tokens: Ints) -> str:
    return "".join(map(chr, tokens.tolist()))


def _lines(tokens: Ints, line_end: int | None) -> Iterator[tuple[int, int]]:
    """The first token of each line and the one behind its last, without the line's end."""
    stops = [] if line_end is None else np.flatnonzero(tokens == line_end).tolist()
    for before, last in pairwise([-1, *stops, len(tokens)]):
        if last > before + 1:
            yield before + 1, last
