"""What every vocabulary is: a numbering of the units that text is read in."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lsseq.data.text import UndecodableError, blocks, place_in, undecodable_error
from lsseq.errors import Place, RequestError

Ids = np.ndarray[Any, np.dtype[Any]]

FILE = "vocabulary.json"
FORMAT = "lsseq-vocabulary"
VERSION = 1


class UnseenError(Exception):
    """A block holds a symbol that the vocabulary lacks, and it has no unknown token."""

    def __init__(self, offset: int, symbol: str) -> None:
        super().__init__(offset, symbol)
        self.offset, self.symbol = offset, symbol
        """Offset in the block, in bytes."""


class Vocabulary(ABC):
    """Text to token numbers and back.

    A token number is in 0 … len(vocabulary) - 1.
    """

    unit: ClassVar[str]
    """`char`, `byte`, `word` or `sentencepiece`."""

    start: int | None
    """The token fed before the first one, the end-of-line symbol; None where there is none."""

    lossless: bool
    """Decoding gives back every text that could be encoded, so that bits per character are defined."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encode_block(self, block: bytes) -> Ids:
        """The tokens of a block that `lsseq.data.text.blocks` cut.

        Raises:
            UndecodableError: a byte is not UTF-8.
            UnseenError: a symbol is not in the vocabulary and there is no unknown token.
        """

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of some tokens."""

    @abstractmethod
    def token(self, index: int) -> str:
        """One token as it is shown to people."""

    @abstractmethod
    def contents(self) -> dict[str, Any]:
        """What vocabulary.json holds, beside its format and version."""

    def encode(self, text: str | bytes, source: str = "text") -> Ids:
        """The tokens of a text, 1-D of int64.

        Args:
            text: characters, or UTF-8 bytes (any bytes where the unit is the byte).
            source: what an error calls the text.

        Raises:
            RequestError: with line and column, for a byte that is not UTF-8 or a symbol that the vocabulary lacks.
        """
        whole = text.encode("utf-8", errors="surrogatepass") if isinstance(text, str) else text
        parts, done = [np.empty(0, np.int64)], 0
        for block in blocks([whole]):
            try:
                parts.append(self.encode_block(block).astype(np.int64))
            except UndecodableError as fault:
                offset = done + fault.offset
                raise undecodable_error(place_in(whole, offset, source), offset, fault.byte) from None
            except UnseenError as fault:
                raise self.unseen_error(fault.symbol, place_in(whole, done + fault.offset, source)) from None
            done += len(block)
        return np.concatenate(parts)

    def unseen_error(self, symbol: str, place: Place) -> RequestError:
        """What the user reads about a symbol that the vocabulary lacks."""
        named = f"{symbol!r}" + (f" (U+{ord(symbol):04X})" if len(symbol) == 1 else "")
        return RequestError(
            f"{named} at line {place.line}, column {place.column} is not in the vocabulary, which has no `<unk>`",
            Place(place.source, place.line, place.column, place.text, len(symbol)),
            hint="`data.unit=byte` or `data.unit=sentencepiece` can read every text",
        )

    def save(self, folder: Path) -> None:
        """Write vocabulary.json into a folder, and what it names; `load_vocabulary` reads it."""
        values = {"format": FORMAT, "version": VERSION, "unit": self.unit, **self.contents()}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(values, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of uint8, uint16 and int32 that holds every token."""
        return np.dtype(np.uint8 if len(self) <= 1 << 8 else np.uint16 if len(self) <= 1 << 16 else np.int32)


class ListedVocabulary(Vocabulary):
    """A vocabulary that is a list of tokens, the number of a token being its place.

    Args:
        tokens: all different.
        unknown: the token, one of them, that everything outside the list is read as; None where there is none.

    Raises:
        ValueError: a token stands twice, or `unknown` is not one of them.
    """

    def __init__(self, tokens: Sequence[str], unknown: str | None = None) -> None:
        self.tokens = tuple(tokens)
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            twice = next(token for index, token in enumerate(self.tokens) if self.ids[token] != index)
            raise ValueError(f"the token {twice!r} stands twice in the vocabulary")
        if unknown is not None and unknown not in self.ids:
            raise ValueError(f"the unknown token {unknown!r} is not in the vocabulary")
        self.unknown = unknown

    def __len__(self) -> int:
        return len(self.tokens)

    def token(self, index: int) -> str:
        return self.tokens[index]

    def contents(self) -> dict[str, Any]:
        return {"unknown": self.unknown, "tokens": list(self.tokens)}
