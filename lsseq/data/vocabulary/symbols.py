"""Characters and bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lsseq.data.text import decode
from lsseq.data.vocabulary.base import Ids, ListedVocabulary, UnseenError, Vocabulary


class CharVocabulary(ListedVocabulary):
    """Unicode code points.

    Args:
        tokens: single characters, and the unknown token where there is one.
        unknown: see `ListedVocabulary`. Characters have none unless they come from a vocabulary made elsewhere.

    Raises:
        ValueError: a token that is not the unknown one has more than one character.
    """

    unit = "char"

    def __init__(self, tokens: Sequence[str], unknown: str | None = None) -> None:
        super().__init__(tokens, unknown)
        self.start = self.ids.get("\n")
        self.lossless = unknown is None
        # One entry a code point, and one more that stands for all beyond the largest.
        single = {token: index for token, index in self.ids.items() if token != unknown}
        if longer := [token for token in single if len(token) != 1]:
            raise ValueError(f"the token {longer[0]!r} is not one character")
        self._table = np.full(
            max(map(ord, single), default=0) + 2, self.ids.get(unknown, -1) if unknown else -1, np.int32
        )
        for token, index in single.items():
            self._table[ord(token)] = index

    @classmethod
    def from_blocks(cls, blocks: Iterable[bytes]) -> CharVocabulary:
        """The characters of a text, in order of their code points.

        Raises:
            UndecodableError: a byte is not UTF-8.
        """
        seen = np.zeros(sys.maxunicode + 1, bool)
        for block in blocks:
            seen[_code_points(decode(block))] = True
        return cls([chr(point) for point in np.flatnonzero(seen)])

    def encode_block(self, block: bytes) -> Ids:
        text = decode(block)
        ids: Ids = self._table[np.minimum(_code_points(text), len(self._table) - 1)]
        if self.unknown is None and len(ids) and ids.min() < 0:
            where = int(np.argmax(ids < 0))
            raise UnseenError(len(text[:where].encode()), text[where])
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        return "".join([self.tokens[index] for index in ids])


def _code_points(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.frombuffer(text.encode("utf-32-le"), np.dtype("<u4"))


class ByteVocabulary(Vocabulary):
    """The 256 bytes: reads every file."""

    unit = "byte"
    start: int | None = ord("\n")
    lossless = True

    def __len__(self) -> int:
        return 256

    def encode_block(self, block: bytes) -> Ids:
        return np.frombuffer(block, np.uint8)

    def decode(self, ids: Iterable[int]) -> str:
        """The text, with U+FFFD for what is not UTF-8."""
        return bytes(map(int, ids)).decode("utf-8", errors="replace")

    def token(self, index: int) -> str:
        return chr(index) if index < 128 else f"<0x{index:02X}>"

    def contents(self) -> dict[str, Any]:
        return {}
