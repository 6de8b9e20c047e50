"""Text without its spaces, and where they were.

The space is U+0020 and no other character. No UTF-8 sequence holds its byte, so spaces are taken out before anything is
decoded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SPACE = ord(" ")
MOST = 255
"""Spaces in a row that are counted."""

Counts = np.ndarray[Any, np.dtype[np.uint8]]


def without_spaces(block: bytes) -> bytes:
    """The other bytes of a block."""
    return block.replace(b" ", b"")


def offset_with_spaces(block: bytes, offset: int) -> int:
    """Where in a block the byte stands that is at `offset` in the block without its spaces."""
    return int(np.flatnonzero(np.frombuffer(block, np.uint8) != SPACE)[offset])


class SpaceCounter:
    """Counts the spaces behind every symbol of a text that goes by block by block.

    What stands behind the last symbol of a block is known only when the next one begins, so each call gives the counts
    from the symbol before the block on and holds back the last. Spaces before the first symbol of the text are behind
    none and are not counted.

    Args:
        by_character: a symbol is a character of UTF-8, not a byte.
    """

    def __init__(self, *, by_character: bool) -> None:
        self._by_character = by_character
        self._held = np.empty(0, np.int64)

    def read(self, block: bytes) -> Counts:
        """The counts that are certain now, 1-D. A block ends between two characters."""
        data = np.frombuffer(block, np.uint8)
        kept = np.flatnonzero(data != SPACE)
        if len(kept) == 0:
            self._held = self._held + len(data)
            return np.empty(0, np.uint8)
        behind = np.diff(np.append(kept, len(data))) - 1
        if self._by_character:
            # Only behind the last byte of a character can a space stand.
            behind = behind[np.append(data[kept][1:] & 0xC0 != 0x80, True)]
        certain = np.concatenate([self._held + kept[0], behind[:-1]])
        self._held = behind[-1:]
        return _small(certain)

    def rest(self) -> Counts:
        """What is behind the last symbol of the text, once it has gone by."""
        return _small(self._held)


def _small(counts: np.ndarray[Any, np.dtype[Any]]) -> Counts:
    small: Counts = np.minimum(counts, MOST).astype(np.uint8)
    return small
