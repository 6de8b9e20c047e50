"""Where the units of a text truly end, by its spaces.

A unit of the first level ends at every space, one of the n-th level at n spaces or more in a row: `a b  c d` is two
phrases of two words each where the levels are words and phrases, and four words where words are the only level. All
units end with their line.

A unit ends after the symbol before the space. Where the model reads the space too, nothing ends after the space itself:
it is the first symbol of the unit that follows, and at the end of a line it belongs to none. A line feed belongs to no
unit.

Shape letter: N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from lsseq.data.spaces import Counts
from lsseq.data.vocabulary import ByteVocabulary, CharVocabulary, Vocabulary

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Tokens = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Gold:
    """The ends of the units of a stretch of text, one entry a token, in the order in which it is read."""

    levels: dict[str, Bools]
    """(N,) of each level, from the smallest units to the largest: a unit ends after the token."""
    ends: Bools
    """(N,): a line or the text ends after the token, or the token is itself the end of a line. Such a place is neither
    found nor missed: every unit ends there."""

    @property
    def outside(self) -> Bools:
        """(N,): the token belongs to no unit: a line feed, or a space at the end of a line."""
        return self.ends & ~reduce(np.logical_or, self.levels.values())

    @property
    def marks(self) -> bool:
        """Whether a unit ends within a line."""
        return any(bool((level & ~self.ends).any()) for level in self.levels.values())

    def __getitem__(self, part: slice) -> Gold:
        return Gold({name: level[part] for name, level in self.levels.items()}, self.ends[part])

    @staticmethod
    def joined(parts: Sequence[Gold]) -> Gold:
        """Stretches that follow each other, as one."""
        levels = {name: np.concatenate([part.levels[name] for part in parts]) for name in parts[0].levels}
        return Gold(levels, np.concatenate([part.ends for part in parts]))


class Marker:
    """The gold of a text that goes by in pieces.

    Whether a line ends after a symbol is known only when the next one comes, so each call answers for the tokens from
    the one before the piece on, and holds back the last symbol and the spaces behind it.

    Args:
        vocabulary: of characters or bytes.
        levels: names, from the smallest units to the largest.
    """

    def __init__(self, vocabulary: Vocabulary, levels: Sequence[str]) -> None:
        self._levels = levels
        self._blank, self._line_feed = number_of(vocabulary, " "), number_of(vocabulary, "\n")
        self._tokens: Tokens = np.empty(0, vocabulary.dtype)
        self._spaces: Counts | None = None

    def read(self, tokens: Tokens, spaces: Counts | None) -> tuple[Tokens, Gold]:
        """The tokens whose gold is certain now, and their gold.

        Args:
            tokens: (N,), the next ones.
            spaces: (N,), how many spaces mark the end of a unit behind each; None where those do that are read.
        """
        self._tokens = np.concatenate([self._tokens, tokens])
        if spaces is not None:
            self._spaces = spaces if self._spaces is None else np.concatenate([self._spaces, spaces])
        symbols = np.flatnonzero(self._tokens != self._blank)
        return self._take(int(symbols[-1]) if len(symbols) else 0)

    def rest(self) -> tuple[Tokens, Gold]:
        """The last tokens of the text, once it has gone by."""
        return self._take(len(self._tokens))

    def _take(self, count: int) -> tuple[Tokens, Gold]:
        tokens, spaces = self._tokens, self._spaces
        blanks, line_feeds = tokens == self._blank, tokens == self._line_feed
        following = _next_symbol(blanks)
        counts = np.where(blanks, 0, following - np.arange(1, len(tokens) + 1)) if spaces is None else spaces
        # What follows the last token ends the line too.
        ends = line_feeds | np.append(line_feeds, True)[following]
        symbols = ~(line_feeds | blanks)
        levels = {level: symbols & (ends | (counts >= n)) for n, level in enumerate(self._levels, start=1)}
        self._tokens, self._spaces = tokens[count:], None if spaces is None else spaces[count:]
        return tokens[:count], Gold(levels, ends)[:count]


def number_of(vocabulary: Vocabulary, symbol: str) -> int:
    """The token of a symbol; -1, which is none, where the vocabulary lacks it or its units are not symbols."""
    if isinstance(vocabulary, ByteVocabulary):
        return ord(symbol)
    return vocabulary.ids.get(symbol, -1) if isinstance(vocabulary, CharVocabulary) else -1


def _next_symbol(blanks: Bools) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(N,): the first place behind each token that holds no space; N where there is none."""
    total = len(blanks)
    places = np.where(np.append(blanks, False), total, np.arange(total + 1))
    return np.minimum.accumulate(places[::-1])[::-1][1:]
