"""One detector against the gold boundaries of one level."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsseq.boundaries.chunk import Bools, Floats, Piece
from lsseq.boundaries.counts import Counts
from lsseq.boundaries.graded import Graded
from lsseq.boundaries.units import Tokens, Types

OFFSETS = (-1, 0, 1)
"""Offset k compares a detector that fires at t with a gold boundary at t + k."""


class Level:
    """The gold boundaries of a level and its lexicon."""

    def __init__(self) -> None:
        self.types = Types()

    def add(self, piece: Piece, gold: Bools) -> None:
        self.types.add(piece.symbols, piece.inner(gold) | piece.ends, piece.outside)


class Score:
    """The scores of a detector at each offset; tokens, types and average precision at the offset that is quoted.

    Args:
        best: that offset. Without it all are followed, and the one of the highest F1 is quoted.
    """

    def __init__(self, best: int | None = None) -> None:
        self._counts = {offset: Counts() for offset in OFFSETS}
        followed = OFFSETS if best is None else (best,)
        self._tokens = {offset: Tokens() for offset in followed}
        self._types = {offset: Types() for offset in followed}
        self._graded = {offset: Graded() for offset in followed}

    def add(self, piece: Piece, found: Bools, degree: Floats | None, gold: Bools) -> None:
        """Count a piece; the arrays have its length, context included. A detector that has no degree is ranked by its
        decisions."""
        ends, outside, gold = piece.ends, piece.outside, piece.inner(gold)
        # A detector cannot have fired before the text.
        found = found & (piece.positions >= 0)
        graded = found.astype(float) if degree is None else np.where(piece.positions >= 0, degree, 0.0)
        for offset, counts in self._counts.items():
            fired = piece.inner(found, offset)
            counts.add(fired & ~ends, gold & ~ends)
            if offset in self._tokens:
                self._tokens[offset].add(fired | ends, gold | ends, outside)
                self._types[offset].add(piece.symbols, fired | ends, outside)
                self._graded[offset].add(piece.inner(graded, offset)[~ends], gold[~ends])

    def values(self, level: Level) -> dict[str, Any]:
        """The object S of the contract: scores at each offset, and those at the one that is quoted."""
        best = max(self._tokens, key=lambda offset: (self._counts[offset].f1() or 0.0, -abs(offset)))
        return {
            "offset": {str(offset): counts.values() for offset, counts in self._counts.items()},
            "best_offset": best,
            "token_f1": self._tokens[best].f1(),
            "type_f1": self._types[best].f1(level.types),
            "average_precision": self._graded[best].average_precision(),
        }
