"""Where the units of a text truly end, by its spaces.

A unit of the first level ends at every space, one of the n-th level at n spaces or more in a row: `a b  c d` is two
phrases of two words each where the levels are words and phrases, and four words where words are the only level. All
units end with their line.

A unit ends after the symbol before the space. Where the model reads the space too, nothing ends after the space itself:
it is the first symbol of the unit that follows, and at the end of a line it belongs to none. A line feed belongs to no
unit.

Shape letter: N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from lsseq.data.corpus import WORDS
from lsseq.data.spaces import SPACE, Counts
from lsseq.data.text import chunks, place_in
from lsseq.data.tokens import Tokens, encode_text
from lsseq.data.vocabulary import ByteVocabulary, CharVocabulary, Vocabulary
from lsseq.errors import Place, RequestError

Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Gold:
    """The ends of the units of a text, one entry a token, in the order in which it is read."""

    levels: dict[str, Bools]
    """(N,) of each level, from the smallest units to the largest: a unit ends after the token."""
    ends: Bools
    """(N,): a line or the text ends after the token, or the token is itself the end of a line. Such a place is neither
    found nor missed: every unit ends there."""

    @property
    def outside(self) -> Bools:
        """(N,): the token belongs to no unit: a line feed, or a space at the end of a line."""
        return self.ends & ~reduce(np.logical_or, self.levels.values())


def visible_gold(tokens: Tokens, vocabulary: Vocabulary, levels: Sequence[str] = WORDS) -> Gold | None:
    """The gold of a text by the spaces in it; None where it has none, or where its units are not symbols.

    Args:
        tokens: (N,), in the order in which they are read.
        vocabulary: of characters or bytes.
        levels: names, from the smallest units to the largest.
    """
    blanks = tokens == _number(vocabulary, " ")
    following = _next_symbol(blanks)
    counts = np.where(blanks, 0, following - np.arange(1, len(tokens) + 1))
    return _gold(counts, blanks, tokens == _number(vocabulary, "\n"), levels) if blanks.any() else None


def stripped_gold(tokens: Tokens, spaces: Counts, vocabulary: Vocabulary, levels: Sequence[str] = WORDS) -> Gold | None:
    """The gold of a text whose spaces were taken out; None where it had none.

    Args:
        tokens: (N,), in the order in which they are read.
        spaces: (N,), how many spaces stood behind each token in that order.
        vocabulary: of characters or bytes.
        levels: names, from the smallest units to the largest.
    """
    line_feeds = tokens == _number(vocabulary, "\n")
    return _gold(spaces, np.zeros(len(tokens), np.bool_), line_feeds, levels) if spaces.any() else None


def gold_file(
    path: Path, tokens: Tokens, vocabulary: Vocabulary, levels: Sequence[str] = WORDS, *, reverse: bool = False
) -> Gold:
    """The gold of a text by the spaces of a file that holds the same text with spaces.

    Apart from spaces, which may stand in both and count in the file alone, the two must be equal.

    Args:
        path: the file, plain or .gz.
        tokens: (N,), in the order in which they are read.
        vocabulary: of characters or bytes.
        levels: names, from the smallest units to the largest.
        reverse: the tokens are read backwards; the file is not.

    Raises:
        RequestError: there is no such file, it has another text (with the place of the first difference), or no space;
            the units of the vocabulary are not symbols.
    """
    if not isinstance(vocabulary, CharVocabulary | ByteVocabulary):
        raise RequestError(f"boundaries are scored for the units char and byte; the model reads {vocabulary.unit}")
    if not path.is_file():
        raise RequestError(f"there is no file `{path}`")
    content = b"".join(chunks(path))
    marked = encode_text(content, vocabulary, str(path), strip_spaces=True)
    blanks = tokens == _number(vocabulary, " ")
    symbols = tokens[~blanks]
    given = marked.tokens[::-1] if reverse else marked.tokens
    if not np.array_equal(given, symbols):
        _refuse(content, marked.tokens, symbols[::-1] if reverse else symbols, vocabulary, str(path))
    assert marked.spaces is not None
    if not marked.spaces.any():
        raise RequestError("the file has no space, so it marks no boundary", Place(str(path)))
    counts = np.zeros(len(tokens), np.uint8)
    counts[~blanks] = backwards(marked.spaces) if reverse else marked.spaces
    return _gold(counts, blanks, tokens == _number(vocabulary, "\n"), levels)


def backwards(spaces: Counts) -> Counts:
    """The spaces behind each token of a text that is read backwards: those that stood before it."""
    return np.append(spaces[:-1][::-1], np.zeros(min(1, len(spaces)), np.uint8))


def _gold(counts: np.ndarray[Any, np.dtype[Any]], blanks: Bools, line_feeds: Bools, levels: Sequence[str]) -> Gold:
    # What follows the last token ends the line too.
    ends = line_feeds | np.append(line_feeds, True)[_next_symbol(blanks)]
    symbols = ~(line_feeds | blanks)
    return Gold({level: symbols & (ends | (counts >= n)) for n, level in enumerate(levels, start=1)}, ends)


def _next_symbol(blanks: Bools) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(N,): the first place behind each token that holds no space; N where there is none."""
    total = len(blanks)
    places = np.where(np.append(blanks, False), total, np.arange(total + 1))
    return np.minimum.accumulate(places[::-1])[::-1][1:]


def _number(vocabulary: Vocabulary, symbol: str) -> int:
    """The token of a symbol; -1, which is none, where the vocabulary lacks it or its units are not symbols."""
    if isinstance(vocabulary, ByteVocabulary):
        return ord(symbol)
    return vocabulary.ids.get(symbol, -1) if isinstance(vocabulary, CharVocabulary) else -1


def _refuse(content: bytes, given: Tokens, text: Tokens, vocabulary: Vocabulary, source: str) -> None:
    """Raise what is said about the first symbol in which the file is not the text, both from their beginnings."""
    shared = min(len(given), len(text))
    first = int(np.argmax(np.append(given[:shared] != text[:shared], True)))
    there, here = (repr(vocabulary.token(int(one[first]))) if first < len(one) else "the end" for one in (given, text))
    data = np.frombuffer(content, np.uint8)
    begins = data != SPACE
    if vocabulary.unit == "char":
        begins &= data & 0xC0 != 0x80
    offset = int(np.flatnonzero(np.append(begins, True))[first])
    place = place_in(content, offset, source)
    raise RequestError(
        f"the file is not the text with spaces: it has {there} where the text has {here}",
        place,
        hint="the symbols must be the same, line by line; only spaces may be added or left out",
    )
