"""A text from its beginning to its end in stretches of limited size, with its gold, as often as it is asked for.

A text comes from arrays (`ArrayText`: a split, a text in memory), from a file that is encoded on disk while it is read
(`FileText`), or from either with the spaces of another file (`RespacedText`). `MarkedText` makes gold of the
spaces. Nothing here holds a text whole.

Shape letter: N tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsseq.data.gold import Gold, Marker, number_of
from lsseq.data.spaces import SPACE, Counts
from lsseq.data.text import Text
from lsseq.data.tokens import Tokens, encoded_file
from lsseq.data.vocabulary import ByteVocabulary, CharVocabulary, Vocabulary
from lsseq.errors import Place, RequestError

PIECE = 1 << 16
"""Tokens of a stretch that are marked at a time."""


@dataclass(frozen=True)
class Stretch:
    """N tokens of a text."""

    tokens: Tokens
    spaces: Counts | None = None
    """(N,): how many spaces, that are not read, mark the end of a unit behind each token. None where the spaces that
    are read do, or where there is gold."""
    gold: Gold | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, part: slice) -> Stretch:
        return Stretch(
            self.tokens[part],
            None if self.spaces is None else self.spaces[part],
            None if self.gold is None else self.gold[part],
        )

    @staticmethod
    def joined(parts: Sequence[Stretch]) -> Stretch:
        """Stretches that follow each other, as one; all have the same fields."""
        spaces = [part.spaces for part in parts if part.spaces is not None]
        gold = [part.gold for part in parts if part.gold is not None]
        return Stretch(
            np.concatenate([part.tokens for part in parts]),
            np.concatenate(spaces) if spaces else None,
            Gold.joined(gold) if gold else None,
        )


class Feed:
    """Takes a text in the lengths that are asked for."""

    def __init__(self, text: Iterable[Stretch]) -> None:
        self._coming = iter(text)
        self._held: list[Stretch] = []

    def take(self, count: int) -> Stretch | None:
        """The next `count` tokens, fewer at the end of the text, None after it."""
        while sum(map(len, self._held)) < count and (stretch := next(self._coming, None)) is not None:
            self._held.append(stretch)
        if not any(map(len, self._held)):
            return None
        joined = Stretch.joined(self._held)
        self._held = [joined[count:]]
        return joined[:count]


@dataclass(frozen=True)
class ArrayText:
    """A text that is at hand; arrays that are mapped from a file are read as they are needed."""

    tokens: Tokens
    gaps: Counts | None
    """As those of `lsseq.data.tokens.Encoded`."""

    def __iter__(self) -> Iterator[Stretch]:
        whole = Stretch(self.tokens, None if self.gaps is None else self.gaps[1:])
        return (whole[start : start + PIECE] for start in range(0, len(whole), PIECE))


@dataclass(frozen=True)
class FileText:
    """A file, plain or .gz, that is encoded when it is read.

    Iterating raises:
        RequestError: as `encoded_file`.
    """

    path: Path
    vocabulary: Vocabulary
    strip_spaces: bool
    reverse: bool

    def __iter__(self) -> Iterator[Stretch]:
        with encoded_file(self.path, self.vocabulary, strip_spaces=self.strip_spaces) as encoded:
            text = encoded.reversed() if self.reverse else encoded
            yield from ArrayText(text.tokens, text.gaps)


@dataclass(frozen=True)
class RespacedText:
    """A text with the spaces of a file that holds the same text with spaces.

    Apart from spaces, which may stand in both and count in the file alone, the two must be equal.

    Args:
        text: in tokens of `vocabulary`.
        file: the same without spaces, and the spaces behind each token; in the same order.
        path: of the file.
        vocabulary: of characters or bytes.
        reverse: both are read backwards.

    Iterating raises:
        RequestError: the file has another text (with the place of the first difference that is met), or no space; the
            units of the vocabulary are not symbols; and as `file`.
    """

    text: Iterable[Stretch]
    file: Iterable[Stretch]
    path: Path
    vocabulary: Vocabulary
    reverse: bool = False

    def __iter__(self) -> Iterator[Stretch]:
        if not isinstance(self.vocabulary, CharVocabulary | ByteVocabulary):
            unit = self.vocabulary.unit
            raise RequestError(f"boundaries are scored for the units char and byte; the model reads {unit}")
        blank, nothing = (
            number_of(self.vocabulary, " "),
            Stretch(np.empty(0, self.vocabulary.dtype), np.empty(0, np.uint8)),
        )
        file = Feed(self.file)
        done, marked = 0, False
        for stretch in self.text:
            symbols = stretch.tokens != blank
            wanted = stretch.tokens[symbols]
            given = file.take(len(wanted)) or nothing
            assert given.spaces is not None
            if not np.array_equal(given.tokens, wanted):
                self._refuse(done, given.tokens, wanted)
            spaces = np.zeros(len(stretch), np.uint8)
            spaces[symbols] = given.spaces
            marked = marked or bool(spaces.any())
            done += len(wanted)
            yield Stretch(stretch.tokens, spaces)
        if (more := file.take(1)) is not None:
            self._refuse(done, more.tokens, nothing.tokens)
        if not marked:
            raise RequestError("the file has no space, so it marks no boundary", Place(str(self.path)))

    def _refuse(self, done: int, given: Tokens, text: Tokens) -> None:
        """Raise what is said about the first symbol in which the file is not the text."""
        shared = min(len(given), len(text))
        first = int(np.argmax(np.append(given[:shared] != text[:shared], True)))
        there, here = (
            repr(self.vocabulary.token(int(one[first]))) if first < len(one) else "the end" for one in (given, text)
        )
        raise RequestError(
            f"the file is not the text with spaces: it has {there} where the text has {here}",
            self._place(done + first),
            hint="the symbols must be the same, line by line; only spaces may be added or left out",
        )

    def _place(self, symbol: int) -> Place:
        """Of a symbol of the file, counted in the order in which it is read; spaces are none."""
        text = Text.of(self.path)
        if self.reverse:
            symbol = max(0, sum(len(self._begins(block)) for block in text.blocks()) - 1 - symbol)
        offset = 0
        for block in text.blocks():
            begins = self._begins(block)
            if symbol < len(begins):
                return text.place(offset + int(begins[symbol]))
            symbol -= len(begins)
            offset += len(block)
        return text.place(offset)

    def _begins(self, block: bytes) -> Tokens:
        """The offsets at which the symbols of a block begin."""
        data = np.frombuffer(block, np.uint8)
        inside = (data & 0xC0 == 0x80) & (self.vocabulary.unit == "char")
        return np.flatnonzero((data != SPACE) & ~inside)


@dataclass(frozen=True)
class MarkedText:
    """A text with gold by its spaces; without, where its units are not symbols.

    Args:
        text: what is marked.
        vocabulary: of its tokens.
        levels: names of the units that its spaces mark, from the smallest to the largest.
    """

    text: Iterable[Stretch]
    vocabulary: Vocabulary
    levels: Sequence[str]

    def __iter__(self) -> Iterator[Stretch]:
        if not isinstance(self.vocabulary, CharVocabulary | ByteVocabulary):
            yield from self.text
            return
        marker = Marker(self.vocabulary, self.levels)
        for stretch in self.text:
            for start in range(0, len(stretch), PIECE):
                part = stretch[start : start + PIECE]
                tokens, gold = marker.read(part.tokens, part.spaces)
                yield Stretch(tokens, gold=gold)
        tokens, gold = marker.rest()
        yield Stretch(tokens, gold=gold)
