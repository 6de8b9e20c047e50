"""The units of a level as a text of their own, which the teachers of the level above read.

Shape letters: N tokens, M units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lsseq.boundaries.chunk import Bools, Ints
from lsseq.boundaries.reading import Tokens
from lsseq.boundaries.units import Cutter, Hashes

MOST = 10_000
"""Units of a vocabulary."""


@dataclass(frozen=True)
class Units:
    """A vocabulary of units; those that occur once in the training text, or are not among the most frequent, are one
    symbol, the last."""

    names: Hashes
    """Of the units that are told apart, ascending; `lsseq.boundaries.units` says what a name is."""

    @classmethod
    def of(cls, tokens: Tokens, cuts: Bools) -> Units:
        """The vocabulary of a text.

        Args:
            tokens: (N,).
            cuts: (N,), a unit ends after the token.
        """
        names, counts = np.unique(_cut(tokens, cuts)[0], return_counts=True)
        # Sorted by name before: which of equally frequent ones are kept does not depend on anything else.
        frequent = np.argsort(-counts, kind="stable")[:MOST]
        return cls(np.sort(names[frequent[counts[frequent] > 1]]))

    @property
    def size(self) -> int:
        """Of the vocabulary."""
        return len(self.names) + 1

    def read(self, tokens: Tokens, cuts: Bools) -> tuple[Ints, Ints]:
        """The units of a text as numbers (M,), and where each of them ends (M,)."""
        found, ends = _cut(tokens, cuts)
        places = np.searchsorted(self.names, found)
        known = np.append(self.names, np.uint64(0))[places] == found
        return np.where(known, places, len(self.names)), ends


def _cut(tokens: Tokens, cuts: Bools) -> tuple[Hashes, Ints]:
    """The names of the units and where they end; the last ends with the text."""
    cuts = cuts.copy()
    cuts[-1:] = True
    names, _ = Cutter().cut(tokens, cuts, np.zeros(len(tokens), np.bool_))
    return names, np.flatnonzero(cuts)
