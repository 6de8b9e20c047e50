"""What a detector does, judged by no gold: how often it fires, where, and how long its units are."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsseq.boundaries.chunk import Bools, Piece
from lsseq.boundaries.counts import ratio
from lsseq.boundaries.graded import Graded, as_degree
from lsseq.boundaries.units import Lengths


class Layer:
    """Sums over the symbols of a text, at whatever place in a line, as the detector fired (offset 0)."""

    def __init__(self) -> None:
        self.lengths = Lengths()
        self._symbols = 0
        self._fired = 0
        self._nested: int | None = None
        self._correlation: dict[str, Graded] = {}

    def add(self, piece: Piece, found: Bools, below: Bools | None) -> None:
        """Count a piece: where this detector fires, and the one of the layer below, where there is one."""
        self._symbols += len(found)
        self._fired += int(np.count_nonzero(found))
        self.lengths.add(piece.symbols, found | piece.ends, piece.outside)
        if below is not None:
            self._nested = (self._nested or 0) + int(np.count_nonzero(found & below))
        for name, curve in (("surprisal", piece.chunk.surprisal), ("entropy", piece.chunk.entropy)):
            if curve is not None:
                self._correlation.setdefault(name, Graded()).add(as_degree(piece.inner(curve)), found)

    def values(self) -> dict[str, Any]:
        """`rate`: the share of symbols at which it fires; `compression`: its inverse; `mean_length`: symbols of a unit
        that ends where it fires or where a line ends; `nesting`: the share of its firings at which the layer below
        fires too; `correlation`: Spearman's, of firing with the `surprisal` and `entropy` of the same symbol."""
        values: dict[str, Any] = {
            "rate": ratio(self._fired, self._symbols),
            "mean_length": ratio(self.lengths.symbols, self.lengths.units),
            "compression": ratio(self._symbols, self._fired),
        }
        if self._nested is not None:
            values["nesting"] = ratio(self._nested, self._fired)
        if self._correlation:
            values["correlation"] = {name: graded.spearman() for name, graded in self._correlation.items()}
        return values
