"""Token streams on disk: text is encoded once, block by block, and mapped into memory afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsseq.data.text import Text, UndecodableError, count_characters, decode, undecodable_error
from lsseq.data.vocabulary.base import UnseenError, Vocabulary

Tokens = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Written:
    """What is known of a split after it was encoded."""

    tokens: int
    characters: int | None
    """None where the text is not UTF-8, as only bytes can be."""
    bytes: int
    sha256: str
    """Of the token array."""


def write_tokens(text: Text, vocabulary: Vocabulary, path: Path) -> Written:
    """Encode a text into a .npy file of the vocabulary's smallest type, in memory of a few blocks.

    Raises:
        RequestError: with file, line and column, for a byte that is not UTF-8 or a symbol that the vocabulary lacks.
    """
    dtype, digest = vocabulary.dtype, hashlib.sha256()
    tokens = characters = size = 0
    readable = True
    with path.open("wb") as file:
        _write_header(file, dtype, 0)
        begin = file.tell()
        for block in text.blocks():
            try:
                ids = vocabulary.encode_block(block).astype(dtype)
            except UndecodableError as fault:
                offset = size + fault.offset
                raise undecodable_error(text.place(offset), text.locate(offset)[1], fault.byte) from None
            except UnseenError as fault:
                raise vocabulary.unseen_error(fault.symbol, text.place(size + fault.offset)) from None
            data = ids.tobytes()
            file.write(data)
            digest.update(data)
            # Only bytes are encoded without being decoded; a block of UTF-8 text never cuts a sequence.
            readable = readable and (vocabulary.unit != "byte" or _is_utf8(block))
            tokens, size, characters = tokens + len(ids), size + len(block), characters + count_characters(block)
        file.seek(0)
        _write_header(file, dtype, tokens)
        if file.tell() != begin:
            raise AssertionError("the header of a .npy file changed its length")
    return Written(tokens, characters if readable else None, size, digest.hexdigest())


def read_tokens(path: Path) -> Tokens:
    """The tokens as a read-only memory map."""
    tokens: Tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    return tokens


def _write_header(file: Any, dtype: np.dtype[Any], length: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    # The version whose header is padded to 128 bytes for every length that a disk can hold.
    np.lib.format.write_array_header_1_0(file, header)


def _is_utf8(block: bytes) -> bool:
    try:
        decode(block)
    except UndecodableError:
        return False
    return True
