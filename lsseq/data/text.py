"""Text as bytes on disk: read in blocks, exactly as it stands, from plain or gzip files.

Nothing is translated: a carriage return, a byte-order mark or a missing last newline is part of the text. A text may
be far larger than memory, so every reader takes it block by block.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from lsseq.errors import Place, RequestError

BLOCK = 1 << 20
"""Bytes of a block. The boundaries between blocks depend on it, and the sentencepiece tokens of lines that are
longer."""

MARKED_LINE = 100
"""An error shows the line it speaks of where that is not longer."""


def open_bytes(path: Path) -> BinaryIO:
    """A file's bytes, uncompressed where its name ends in .gz."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def chunks(path: Path, start: int = 0, end: int | None = None, *, size: int = BLOCK) -> Iterator[bytes]:
    """The bytes from `start` to `end` of a file's uncompressed content.

    Raises:
        RequestError: a .gz file is damaged.
    """
    try:
        with open_bytes(path) as file:
            file.seek(start)
            left = size if end is None else end - start
            while left > 0 and (chunk := file.read(min(size, left))):
                yield chunk
                left = size if end is None else left - len(chunk)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise RequestError(f"the gzip file is damaged: {error}", Place(str(path))) from error


@dataclass(frozen=True)
class Part:
    """A range of a file's uncompressed bytes; `end` None is the end of the file."""

    path: Path
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Text:
    """The text of a split: parts of files, joined with nothing between them."""

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, *paths: Path) -> Text:
        """Whole files."""
        return cls(tuple(Part(path) for path in paths))

    def chunks(self) -> Iterator[bytes]:
        """The bytes, in chunks that may end anywhere."""
        for part in self.parts:
            yield from chunks(part.path, part.start, part.end)

    def blocks(self) -> Iterator[bytes]:
        """The bytes, in blocks that end where `blocks` says."""
        return blocks(self.chunks())

    def size(self) -> int:
        """Bytes in all."""
        return sum(len(chunk) for chunk in self.chunks())

    def locate(self, offset: int) -> tuple[Path, int]:
        """The file that holds a byte, and the byte's offset in it."""
        for part in self.parts[:-1]:
            length = Text((part,)).size()
            if offset < length:
                return part.path, part.start + offset
            offset -= length
        return self.parts[-1].path, self.parts[-1].start + offset

    def place(self, offset: int) -> Place:
        """Line, column (in characters) and line text of a byte."""
        path, position = self.locate(offset)
        return _place(str(path), chunks(path, 0, position), chunks(path, position))


def blocks(pieces: Iterable[bytes], size: int = BLOCK) -> Iterator[bytes]:
    """The same bytes in blocks of about `size` that end after a line, or else after a space, or else between
    characters.

    So neither a line that fits into a block nor a word is cut in two, and no UTF-8 sequence ever is. Where the blocks
    end depends on the bytes alone, not on the pieces they come in.
    """
    held = b""
    for piece in pieces:
        for start in range(0, len(piece), size):
            held += piece[start : start + size]
            while len(held) > size:
                end = _block_end(held[:size])
                yield held[:end]
                held = held[end:]
    if held:
        yield held


def _block_end(block: bytes) -> int:
    for mark in (b"\n", b" "):
        if (found := block.rfind(mark)) >= 0:
            return found + 1
    # A UTF-8 sequence has at most three continuation bytes (10xxxxxx) behind its first byte.
    for end in range(len(block) - 1, max(len(block) - 5, 0), -1):
        if block[end] & 0xC0 != 0x80:
            return end
    return len(block)


def place_in(text: bytes, offset: int, source: str) -> Place:
    """Line, column (in characters) and line text of a byte of a text in memory."""
    return _place(source, [text[:offset]], [text[offset:]])


def _place(source: str, before: Iterable[bytes], after: Iterable[bytes]) -> Place:
    lines, characters, head = 1, 0, b""
    for chunk in before:
        lines += chunk.count(b"\n")
        if (newline := chunk.rfind(b"\n")) >= 0:
            characters, head, chunk = 0, b"", chunk[newline + 1 :]  # noqa: PLW2901
        characters += count_characters(chunk)
        head = (head + chunk)[: 4 * MARKED_LINE]
    tail = next(iter(after), b"").split(b"\n", 1)[0]
    line = (head + tail).decode("utf-8", errors="replace")
    short = characters + count_characters(tail) <= MARKED_LINE
    shown = "".join(symbol if symbol.isprintable() else " " for symbol in line) if short else None
    return Place(source, lines, characters + 1, shown)


def count_characters(text: bytes) -> int:
    """Unicode code points of UTF-8 text: the bytes that continue no sequence."""
    return len(text) - int((np.frombuffer(text, np.uint8) & 0xC0 == 0x80).sum())


def refuse_changed(before: str | None, now: str, source: str, who: str = "the model") -> None:
    """Refuse a text, or the sequences of a task, by its fingerprint.

    Args:
        before: of what `who` was trained on; None where that is not known.
        now: of what there is.
        source: what that is, for the error.
        who: a run or a model.

    Raises:
        RequestError: it is another.
    """
    if before is not None and before != now:
        raise RequestError(
            f"the text is not the one that {who} was trained on: {source}",
            hint="its files were changed; restore them, or start a new run",
        )


class UndecodableError(Exception):
    """A block holds a byte that is not UTF-8."""

    def __init__(self, offset: int, byte: int) -> None:
        super().__init__(offset, byte)
        self.offset, self.byte = offset, byte
        """Offset in the block."""


def decode(block: bytes) -> str:
    """The characters of a block.

    Raises:
        UndecodableError: with the offset of the first byte that is not UTF-8.
    """
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UndecodableError(error.start, block[error.start]) from None


def undecodable_error(place: Place, offset: int, byte: int) -> RequestError:
    """What the user reads about a byte that is not UTF-8."""
    return RequestError(
        f"the byte 0x{byte:02x} at offset {offset} (line {place.line}) is not UTF-8",
        Place(place.source, place.line),
        hint="convert the file to UTF-8, or read it as it is with `data.unit=byte`",
    )
