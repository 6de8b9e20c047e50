"""What is drawn: a short stretch of a text with all that is known of its symbols, and the rates of a training.

Shape letters: T symbols, D layers with a detector, L layers, N lines of the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    gold: Mapping[str, Bools] = field(default_factory=dict)
    """(T,) of each level: a unit of the level ends after the symbol."""

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

    @cached_property
    def heat(self) -> npt.NDArray[np.float64]:
        """(T, L): norms from 0, the least of a layer, to 1, its greatest; 0 where all are equal or none is known."""
        if self.norms is None:
            return np.zeros((len(self.symbols), 0))
        least, most = np.nanmin(self.norms, 0, initial=np.inf), np.nanmax(self.norms, 0, initial=-np.inf)
        heat: npt.NDArray[np.float64] = np.nan_to_num((self.norms - least) / np.where(most > least, most - least, 1.0))
        return heat

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
