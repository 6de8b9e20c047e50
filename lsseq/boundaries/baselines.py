"""Detectors that need no training, to be scored beside a learned one.

Each takes arrays over the symbols of a text and gives a bool for each: a unit ends after symbol t.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lsseq.boundaries.chunk import Bools, Floats
from lsseq.boundaries.graded import as_degree
from lsseq.boundaries.units import scrambled

Positions = npt.NDArray[np.int64]


def always(positions: Positions) -> Bools:
    """Fires after every symbol."""
    return np.ones(len(positions), np.bool_)


def stride(positions: Positions, rate: float) -> Bools:
    """Fires at a fixed stride of 1/rate symbols, rounded so that the rate holds in the long run."""
    fires: Bools = np.floor((positions + 1) * rate) > np.floor(positions * rate)
    return fires


def random(positions: Positions, rate: float, seed: int) -> Bools:
    """Fires with probability `rate` at each symbol, independently; a function of seed and position alone."""
    start = scrambled(np.array([seed], np.uint64))
    drawn = scrambled(scrambled(positions.astype(np.uint64)) + start)
    fires: Bools = (drawn >> np.uint64(11)) * 2.0**-53 < rate
    return fires


def peaks(curve: Floats) -> Bools:
    """Fires after the symbol before a peak: where symbol t surprises, a unit has ended after symbol t - 1.

    A peak is a position strictly above its left neighbour and at least its right one, so neither the first symbol nor
    the last is one. With NaN no comparison holds.
    """
    marks = np.zeros(len(curve), np.bool_)
    middle = curve[1:-1]
    marks[: max(0, len(curve) - 2)] = (middle > curve[:-2]) & (middle >= curve[2:])
    return marks


def graded_peaks(curve: Floats) -> tuple[Bools, Floats]:
    """The peaks of a surprisal or an entropy in nats, and to what degree each symbol is a boundary: by the height of
    the curve at the next one."""
    degree = np.zeros(len(curve))
    degree[:-1] = as_degree(curve[1:])
    return peaks(curve), degree
