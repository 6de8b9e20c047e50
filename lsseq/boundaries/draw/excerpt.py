"""What is drawn: a short stretch of a text with all that is known of its symbols, and the rates of a training.

Shape letters: T symbols, D layers with a detector, L layers, N lines of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lsseq.boundaries.chunk import Bools, Floats
from lsseq.evaluation.surprisal import escaped


@dataclass(frozen=True)
class Excerpt:
    """T symbols of a text."""

    symbols: Sequence[str]
    """The text of each symbol: a character, or a token."""
    found: Bools
    """(T, D)"""
    probability: Floats | None = None
    """(T, D)"""
    surprisal: Floats | None = None
    """(T,), in nats; drawn in bits."""
    norms: Floats | None = None
    """(T, L): norms of the hidden states."""
    breaks: Bools | None = None
    """(T,): a line ends after the symbol; the drawn text goes on in a new line."""

    @cached_property
    def shown(self) -> list[str]:
        """Symbols as they are drawn: what does not print is escaped."""
        return [escaped(symbol) for symbol in self.symbols]

    @cached_property
    def levels(self) -> npt.NDArray[np.int64]:
        """(T,): the highest layer, from 1, whose detector fires; 0 where none does."""
        layers = np.arange(1, self.found.shape[1] + 1)
        highest: npt.NDArray[np.int64] = np.max(self.found * layers, axis=1, initial=0)
        return highest

    def line_ends(self) -> list[int]:
        """Where the drawn text has a new line, as numbers of symbols read."""
        ends = [] if self.breaks is None else (np.flatnonzero(self.breaks) + 1).tolist()
        return sorted({*ends, len(self.symbols)} - {0})


@dataclass(frozen=True)
class Rates:
    """How often each detector fired during a training."""

    steps: Sequence[int]
    """(N,)"""
    rates: Sequence[Sequence[float]]
    """(N, D)"""
