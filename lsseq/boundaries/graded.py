"""How well a degree (a probability, a surprisal) ranks the symbols that are marked: exact for arrays, and from
histograms for texts of any length."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lsseq.boundaries.chunk import Bools, Floats

BINS = 1 << 14


def average_precision(degree: Floats, marked: Bools) -> float | None:
    """Area under precision over recall as a sum of steps, one for each distinct degree from the highest down: the mean
    precision at the marked symbols. Equal degrees make one step. Undefined where nothing is marked."""
    values, place = np.unique(degree, return_inverse=True)
    place = place.reshape(-1)
    return _average_precision(
        np.bincount(place, minlength=len(values)), np.bincount(place[marked], minlength=len(values))
    )


def spearman(one: Floats | Bools, other: Floats | Bools) -> float | None:
    """Spearman's rank correlation: Pearson's of the ranks, where equal values share their mean rank. Undefined where
    all values of an array are equal."""
    return _pearson(_ranks(np.asarray(one)), _ranks(np.asarray(other)))


def as_degree(nats: Floats) -> Floats:
    """Surprisal or entropy in nats as a degree between 0 and 1 with the same order: the probability of another symbol,
    or one minus the inverse of the perplexity. What is not known (NaN) is 0."""
    return np.nan_to_num(-np.expm1(-nats.astype(np.float64)))


class Graded:
    """Two histograms of degrees between 0 and 1: of all symbols and of those that are marked.

    Degrees that differ by less than 1/16384 may count as equal; else the figures are those of the arrays.
    """

    def __init__(self) -> None:
        self.all = np.zeros(BINS, np.int64)
        self.marked = np.zeros(BINS, np.int64)

    def add(self, degree: Floats, marked: Bools) -> None:
        bins = np.clip(np.nan_to_num(degree) * BINS, 0, BINS - 1).astype(np.int64)
        self.all += np.bincount(bins, minlength=BINS)
        self.marked += np.bincount(bins[marked], minlength=BINS)

    def average_precision(self) -> float | None:
        """As the function of that name, of the degrees and the marks."""
        return _average_precision(self.all, self.marked)

    def spearman(self) -> float | None:
        """As the function of that name, of the degrees and the marks."""
        total, marked = int(self.all.sum()), int(self.marked.sum())
        if not 0 < marked < total:
            return None
        # The mean rank of a bin, less the mean of all ranks.
        ranks = np.cumsum(self.all) - self.all / 2 - total / 2
        spread = float(self.all @ ranks**2) * marked * (1 - marked / total)
        return float(self.marked @ ranks) / math.sqrt(spread) if spread else None


def _average_precision(counts: npt.NDArray[np.int64], marked: npt.NDArray[np.int64]) -> float | None:
    if not marked.any():
        return None
    seen, hits = np.cumsum(counts[::-1]), np.cumsum(marked[::-1])
    return float(marked[::-1] @ (hits / np.maximum(seen, 1)) / hits[-1])


def _ranks(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    each: npt.NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place.reshape(-1)]
    return each


def _pearson(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float | None:
    if not len(one):
        return None
    one, other = one - one.mean(), other - other.mean()
    spread = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / spread if spread else None
