"""What is known of a text symbol by symbol, in chunks of any size, and the pieces in which it is counted.

A chunk is a stretch of the text. What is counted at a symbol may depend on its neighbours (a peak, a detector that
fires one symbol late), so chunks are counted as pieces: each has a few symbols of context on both sides that belong to
the pieces beside it. Memory does not grow with the text.

Shape letters: T symbols, D layers with a detector, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
A = TypeVar("A", bound=npt.NDArray[Any])

MARGIN = 3
"""Symbols of context on each side: a peak that marks the symbol before it, seen from one symbol further, looks three
symbols ahead."""


@dataclass(frozen=True)
class Chunk:
    """T symbols of a text, each array with T first.

    Raises:
        ValueError: an array has another number of symbols.
    """

    symbols: Ints
    """(T,): ids of the symbols; units with the same ids are one type."""
    found: Bools
    """(T, D): the detector of a layer fires at t."""
    probability: Floats | None = None
    """(T, D): of firing. Without it a detector is ranked by its decisions."""
    gold: Mapping[str, Bools] = field(default_factory=dict)
    """(T,) for each level: a unit of the level ends after symbol t."""
    ends: Bools | None = None
    """(T,): a line or an utterance ends after symbol t, which is neither gold nor counted as found."""
    outside: Bools | None = None
    """(T,): symbols that belong to no unit, such as the line break that the model reads. A line ends before and after
    such a symbol."""
    surprisal: Floats | None = None
    """(T,): -log p of symbol t given those before it, in nats. NaN where it is not known."""
    entropy: Floats | None = None
    """(T,): of the prediction of symbol t, in nats."""
    updates: Bools | None = None
    """(T, L): the layer computed at t; it kept its state (COPY) where not."""
    others: Mapping[str, Bools] = field(default_factory=dict)
    """(T,) for each name: further detectors, scored beside the baselines; `two_way`."""

    def __post_init__(self) -> None:
        _each(lambda name, one: _check(name, one, len(self)), self)

    def __len__(self) -> int:
        return len(self.symbols)


@dataclass(frozen=True)
class Piece:
    """A chunk with its context: the first and last `MARGIN` symbols are counted in the pieces beside it."""

    chunk: Chunk
    start: int
    """Position in the text of the first symbol of the chunk; negative where that is before the text."""

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Positions in the text of all symbols, context included."""
        return self.start + np.arange(len(self.chunk), dtype=np.int64)

    @property
    def symbols(self) -> Ints:
        return self.inner(self.chunk.symbols)

    @property
    def outside(self) -> Bools:
        """The symbols that belong to no unit."""
        assert self.chunk.outside is not None
        return self.inner(self.chunk.outside)

    @property
    def ends(self) -> Bools:
        """The symbols after which a line or the text ends."""
        assert self.chunk.outside is not None
        assert self.chunk.ends is not None
        return self.inner(self.chunk.ends) | self.outside | self.inner(self.chunk.outside, -1)

    @staticmethod
    def inner(array: A, offset: int = 0) -> A:
        """The counted part of an array; with an offset k, at each position p what stands at p - k."""
        return array[MARGIN - offset : len(array) - MARGIN - offset]  # type: ignore[return-value]


class Seams:
    """Makes pieces of the chunks of a text."""

    def __init__(self) -> None:
        self._kept: Chunk | None = None
        self._start = -MARGIN

    def pieces(self, chunks: Iterable[Chunk]) -> Iterator[Piece]:
        """The pieces of a whole text, one at a time."""
        for chunk in chunks:
            if (piece := self.add(chunk)) is not None:
                yield piece
        if (piece := self.finish()) is not None:
            yield piece

    def add(self, chunk: Chunk) -> Piece | None:
        """The piece that the chunk completes; None where it is too short for one.

        Raises:
            ValueError: the chunk has other fields than the one before it.
        """
        chunk = _filled(chunk)
        if self._kept is None:
            self._kept = _padding(chunk)
        return self._cut(_joined(self._kept, chunk))

    def finish(self) -> Piece | None:
        """The last piece; None where there was no symbol."""
        if self._kept is None:
            return None
        last = self._cut(_joined(self._kept, _padding(self._kept)))
        self._kept = None
        return last

    def _cut(self, joined: Chunk) -> Piece | None:
        keep = min(len(joined), 2 * MARGIN)
        piece = Piece(joined, self._start) if len(joined) > keep else None
        self._start += len(joined) - keep
        self._kept = _each(lambda _, one: one[len(joined) - keep :].copy(), joined)
        return piece


def _filled(chunk: Chunk) -> Chunk:
    none = np.zeros(len(chunk), np.bool_)
    return replace(
        chunk,
        ends=none if chunk.ends is None else chunk.ends,
        outside=none if chunk.outside is None else chunk.outside,
    )


def _padding(like: Chunk) -> Chunk:
    """`MARGIN` symbols before or after a text: nothing is found, nothing is known, all is outside of the units."""

    def pad(name: str, one: Array) -> Array:
        fill = np.nan if one.dtype.kind == "f" else name == "outside"
        return np.full((MARGIN, *one.shape[1:]), fill, one.dtype)

    return _each(pad, like)


def _joined(first: Chunk, second: Chunk) -> Chunk:
    parts = _arrays(second)
    if _arrays(first).keys() != parts.keys():
        raise ValueError(f"the chunks of a text have the same fields: {list(_arrays(first))}, then {list(parts)}")
    return _each(lambda name, one: np.concatenate([one, parts[name]]), first)


def _check(name: str, one: Array, length: int) -> Array:
    if len(one) != length:
        raise ValueError(f"`{name}` has {len(one)} symbols and `symbols` {length}")
    return one


def _arrays(chunk: Chunk) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    _each(arrays.setdefault, chunk)
    return arrays


def _each(change: Callable[[str, Array], Array], chunk: Chunk) -> Chunk:
    """The chunk with every array changed; the arrays of `gold` and `others` are named `gold.LEVEL`, `others.NAME`."""
    changed = Chunk.__new__(Chunk)
    for one in fields(Chunk):
        value = getattr(chunk, one.name)
        if isinstance(value, Mapping):
            value = {key: change(f"{one.name}.{key}", array) for key, array in value.items()}
        elif value is not None:
            value = change(one.name, value)
        object.__setattr__(changed, one.name, value)
    return changed
