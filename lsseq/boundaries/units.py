"""Units between boundaries: tokens that are right at both ends, types, and lengths. All cross the seams of chunks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lsseq.boundaries.chunk import Bools, Ints
from lsseq.boundaries.counts import f1

Hashes = npt.NDArray[np.uint64]

MOST = 1 << 16
"""A lexicon is exact up to so many types."""

LONGEST = 128
"""Lengths are counted one by one up to here; longer units together."""


def scrambled(numbers: Hashes) -> Hashes:
    """64 random-looking bits of each number: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = numbers ^ (numbers >> np.uint64(31))
    return mixed


class Cutter:
    """Cuts a text into units.

    A unit is named by 64 bits, the sum of a scrambled number for each symbol at its place in the unit: of constant size
    however long a unit grows. Among a million types the chance that two share a name is about 3e-8.
    """

    def __init__(self) -> None:
        self._sum = np.zeros(1, np.uint64)
        self._length = 0

    def cut(self, symbols: Ints, cuts: Bools, outside: Bools) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """Names and lengths of the units that end here; a symbol outside of all units, with a cut before and after it,
        makes none."""
        if not len(symbols):
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        index = np.arange(len(symbols), dtype=np.int64)
        before = np.concatenate([[-1 - self._length], np.where(cuts, index, -1 - self._length)[:-1]])
        place = index - np.maximum.accumulate(before) - 1
        numbers = (symbols.astype(np.uint64) << np.uint64(32)) + place.astype(np.uint64)
        sums = np.cumsum(scrambled(numbers + np.uint64(0x9E3779B97F4A7C15))) + self._sum
        last = np.flatnonzero(cuts)
        names = np.diff(sums[last], prepend=np.uint64(0))
        lengths = place[last] + 1
        self._length = 0 if cuts[-1] else int(place[-1]) + 1
        self._sum = sums[-1:] - (sums[last[-1:]] if len(last) else np.uint64(0))
        inside = ~outside[last]
        return names[inside], lengths[inside]


class Types:
    """The lexicon of a segmentation, each type once.

    Exact up to `MOST` types. Beyond that a random half of them is kept, then a quarter, and so on: those whose names
    end in so many zero bits, the same in every lexicon (Wegman's adaptive sampling; Flajolet 1990). So memory stays
    constant, and figures are estimates from about 32,000 types of the larger lexicon or more.
    """

    def __init__(self) -> None:
        self._names: Hashes = np.empty(0, np.uint64)
        """Sorted, each once; a set of Python's would take eight times the memory."""
        self._zeros = 0
        self._cutter = Cutter()

    def add(self, symbols: Ints, cuts: Bools, outside: Bools) -> None:
        names, _ = self._cutter.cut(symbols, cuts, outside)
        names = np.unique(_sample(names, self._zeros))
        places = np.searchsorted(self._names, names)
        new = np.append(self._names, names[-1:])[places] != names
        new |= places == len(self._names)
        self._names = np.insert(self._names, places[new], names[new])
        while len(self._names) > MOST:
            self._zeros += 1
            self._names = _sample(self._names, self._zeros)

    def f1(self, gold: Types) -> float | None:
        """Type F1: how far two lexicons agree, each type counted once."""
        zeros = max(self._zeros, gold._zeros)
        ours, theirs = _sample(self._names, zeros), _sample(gold._names, zeros)
        return f1(len(np.intersect1d(ours, theirs, assume_unique=True)), len(ours), len(theirs))


def _sample(names: Hashes, zeros: int) -> Hashes:
    """Those that end in so many zero bits."""
    kept: Hashes = names[names & np.uint64((1 << zeros) - 1) == 0]
    return kept


@dataclass
class Tokens:
    """Units of a segmentation that are units of the gold one: right at both ends, with nothing in between."""

    hits: int = 0
    found: int = 0
    gold: int = 0
    _agreed: bool = True
    """Both segmentations have a boundary at the last place where either has one."""

    def add(self, found: Bools, gold: Bools, outside: Bools) -> None:
        """Cuts of both segmentations, the ends of lines among them."""
        either = np.flatnonzero(found | gold)
        both = (found & gold)[either]
        before = np.concatenate([[self._agreed], both])
        inside = ~outside
        self.hits += int(np.count_nonzero(both & before[:-1] & inside[either]))
        self.found += int(np.count_nonzero(found & inside))
        self.gold += int(np.count_nonzero(gold & inside))
        self._agreed = bool(before[-1])

    def f1(self) -> float | None:
        return f1(self.hits, self.found, self.gold)


class Lengths:
    """How long units are."""

    def __init__(self) -> None:
        self.counts = np.zeros(LONGEST + 2, np.int64)
        """How many units have each length in symbols; the last entry counts all longer ones."""
        self.units = 0
        self.symbols = 0
        self._cutter = Cutter()

    def add(self, symbols: Ints, cuts: Bools, outside: Bools) -> None:
        _, lengths = self._cutter.cut(symbols, cuts, outside)
        self.counts += np.bincount(np.minimum(lengths, LONGEST + 1), minlength=LONGEST + 2)
        self.units += len(lengths)
        self.symbols += int(lengths.sum())
