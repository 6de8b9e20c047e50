"""Token streams on disk: text is encoded once, block by block, and mapped into memory afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lsseq.data.spaces import Counts, SpaceCounter, offset_with_spaces, without_spaces
from lsseq.data.text import Text, UndecodableError, blocks, count_characters, decode, place_in, undecodable_error
from lsseq.data.vocabulary.base import UnseenError, Vocabulary
from lsseq.errors import RequestError

Tokens = np.ndarray[Any, np.dtype[Any]]

_FIRST = np.zeros(1, np.uint8)
"""The gap before the first token."""


@dataclass(frozen=True)
class Written:
    """What is known of a split after it was encoded."""

    tokens: int
    characters: int | None
    """Of what was read: without the spaces where they were taken out. None where the text is not UTF-8, as only bytes
    can be."""
    bytes: int
    """Of what was read."""
    sha256: str
    """Of the token array."""


@dataclass(frozen=True)
class Encoded:
    """An encoded text, in memory or mapped from files."""

    tokens: Tokens
    """(N,), of the vocabulary's smallest type."""
    gaps: Counts | None
    """(N + 1,): spaces that were taken out before each token, none before the first, and behind the last; None where
    they were left in."""
    characters: int | None
    """As `Written.characters`."""
    bytes: int
    """As `Written.bytes`."""

    def reversed(self) -> Encoded:
        """The text from its end; the arrays are views of the same memory."""
        return replace(self, tokens=self.tokens[::-1], gaps=None if self.gaps is None else self.gaps[::-1])


def write_tokens(text: Text, vocabulary: Vocabulary, path: Path, gaps: Path | None = None) -> Written:
    """Encode a text into a .npy file of the vocabulary's smallest type, in memory of a few blocks.

    Args:
        text: what is encoded.
        vocabulary: by what.
        path: of the file with the tokens.
        gaps: where it is given, the spaces are taken out, and this file gets `Encoded.gaps`.

    Raises:
        RequestError: with file, line and column, for a byte that is not UTF-8 or a symbol that the vocabulary lacks.
    """
    characters = size = 0
    readable = True
    counter = SpaceCounter(by_character=vocabulary.unit == "char")
    with contextlib.ExitStack() as files:
        tokens = files.enter_context(_Array(path, vocabulary.dtype))
        counts = None if gaps is None else files.enter_context(_Array(gaps, np.dtype(np.uint8)))
        if counts is not None:
            counts.add(_FIRST)
        for ids, read, block in _encoded_blocks(text, vocabulary, strip_spaces=gaps is not None):
            tokens.add(ids)
            if counts is not None:
                counts.add(counter.read(block))
            # Only bytes are encoded without being decoded; a block of UTF-8 text never cuts a sequence.
            readable = readable and (vocabulary.unit != "byte" or is_utf8(read))
            size, characters = size + len(read), characters + count_characters(read)
        if counts is not None:
            counts.add(counter.rest())
    return Written(tokens.length, characters if readable else None, size, tokens.digest.hexdigest())


def _encoded_blocks(text: Text, vocabulary: Vocabulary, *, strip_spaces: bool) -> Iterator[tuple[Tokens, bytes, bytes]]:
    """As `_encoded`, of a text on disk; the faults are those that the user reads."""
    try:
        yield from _encoded(text.blocks(), vocabulary, strip_spaces=strip_spaces)
    except UndecodableError as fault:
        raise undecodable_error(text.place(fault.offset), text.locate(fault.offset)[1], fault.byte) from None
    except UnseenError as fault:
        raise vocabulary.unseen_error(fault.symbol, text.place(fault.offset)) from None


def encode_text(text: str | bytes, vocabulary: Vocabulary, source: str = "text", *, strip_spaces: bool) -> Encoded:
    """Encode a text in memory.

    Args:
        text: characters, or UTF-8 bytes (any bytes where the unit is the byte).
        vocabulary: by what.
        source: what an error calls the text.
        strip_spaces: take the spaces out.

    Raises:
        RequestError: as `write_tokens`; line and column are those of the text with its spaces.
    """
    whole = text.encode("utf-8", errors="surrogatepass") if isinstance(text, str) else text
    counter = SpaceCounter(by_character=vocabulary.unit == "char")
    tokens, counts = [np.empty(0, vocabulary.dtype)], [_FIRST]
    try:
        for ids, _, block in _encoded(blocks([whole]), vocabulary, strip_spaces=strip_spaces):
            tokens.append(ids)
            if strip_spaces:
                counts.append(counter.read(block))
    except UndecodableError as fault:
        raise undecodable_error(place_in(whole, fault.offset, source), fault.offset, fault.byte) from None
    except UnseenError as fault:
        raise vocabulary.unseen_error(fault.symbol, place_in(whole, fault.offset, source)) from None
    gaps = np.concatenate([*counts, counter.rest()]) if strip_spaces else None
    read = without_spaces(whole) if strip_spaces else whole
    return Encoded(np.concatenate(tokens), gaps, count_characters(read) if is_utf8(read) else None, len(read))


@contextlib.contextmanager
def encoded_file(path: Path, vocabulary: Vocabulary, *, strip_spaces: bool) -> Iterator[Encoded]:
    """A file, plain or .gz, encoded into temporary files that are mapped into memory until the block ends.

    Raises:
        RequestError: there is no such file, and as `write_tokens`.
    """
    if not path.is_file():
        raise RequestError(f"there is no file `{path}`")
    # Windows lets nobody remove a file that is mapped.
    with tempfile.TemporaryDirectory(prefix="lsseq-", ignore_cleanup_errors=True) as folder:
        tokens, gaps = Path(folder) / "tokens.npy", Path(folder) / "gaps.npy" if strip_spaces else None
        written = write_tokens(Text.of(path), vocabulary, tokens, gaps)
        yield mapped(written, tokens, gaps)


def mapped(written: Written, tokens: Path, gaps: Path | None) -> Encoded:
    """What `write_tokens` wrote.

    Raises:
        ValueError, OSError: a file was damaged.
    """
    ids, counts = read_tokens(tokens), None if gaps is None else read_tokens(gaps)
    if ids.shape != (written.tokens,) or (counts is not None and counts.shape != (written.tokens + 1,)):
        raise ValueError("a file of tokens has another length than was written")
    return Encoded(ids, counts, written.characters, written.bytes)


def read_tokens(path: Path) -> Tokens:
    """The tokens as a read-only memory map."""
    tokens: Tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    return tokens


def _encoded(
    pieces: Iterable[bytes], vocabulary: Vocabulary, *, strip_spaces: bool
) -> Iterator[tuple[Tokens, bytes, bytes]]:
    """The tokens of each block, what was read of it, and the block itself; faults have offsets in the whole text."""
    begin = 0
    for block in pieces:
        read = without_spaces(block) if strip_spaces else block
        try:
            ids = vocabulary.encode_block(read).astype(vocabulary.dtype)
        except (UndecodableError, UnseenError) as fault:
            fault.offset = begin + (offset_with_spaces(block, fault.offset) if strip_spaces else fault.offset)
            raise
        yield ids, read, block
        begin += len(block)


class _Array:
    """A 1-D .npy file that grows."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._path, self._dtype = path, dtype
        self.length, self.digest = 0, hashlib.sha256()

    def __enter__(self) -> _Array:
        self._file = self._path.open("wb")
        self._begin = self._write_header()
        return self

    def add(self, values: Tokens) -> None:
        data = values.tobytes()
        self._file.write(data)
        self.digest.update(data)
        self.length += len(values)

    def __exit__(self, *_: object) -> None:
        with self._file as file:
            file.seek(0)
            if self._write_header() != self._begin:
                raise AssertionError("the header of a .npy file changed its length")

    def _write_header(self) -> int:
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.length,)}
        # The version whose header is padded to 128 bytes for every length that a disk can hold.
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()


def is_utf8(block: bytes) -> bool:
    """Whether the bytes are text."""
    try:
        decode(block)
    except UndecodableError:
        return False
    return True
