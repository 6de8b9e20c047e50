"""The vocabulary that a recipe asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lsseq.data.text import Text, UndecodableError, undecodable_error
from lsseq.data.vocabulary.base import Vocabulary
from lsseq.data.vocabulary.given import read_vocabulary
from lsseq.data.vocabulary.pieces import SentencePieceError, SentencePieceVocabulary
from lsseq.data.vocabulary.symbols import ByteVocabulary, CharVocabulary
from lsseq.data.vocabulary.words import WordVocabulary
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data

SAMPLE = 10_000_000
"""Bytes of text that sentencepiece learns from, since it takes some thirty bytes of memory for each: of a longer text
every n-th sentence."""


def settings(data: Data) -> dict[str, Any]:
    """What the vocabulary depends on beside the training text; equal settings and text give an equal vocabulary.

    Raises:
        KeyFault: a key that the unit cannot serve.
    """
    _check(data)
    chosen: dict[str, Any] = {"unit": data.unit}
    if data.vocabulary is not None:
        path = Path(data.vocabulary).expanduser()
        # A missing file is reported when it is read.
        return chosen | {"file": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None}
    if data.unit == "word":
        chosen |= {"size": data.vocabulary_size, "minimum": data.minimum_count}
    elif data.unit == "sentencepiece":
        chosen |= {"size": data.vocabulary_size, "algorithm": data.sentencepiece.algorithm}
    return chosen


def build_vocabulary(data: Data, train: Text) -> Vocabulary:
    """The vocabulary of a training text.

    Raises:
        KeyFault: a size that the unit cannot serve, or a vocabulary file that is missing or of another unit.
        RequestError: a byte of the text is not UTF-8.
    """
    if data.unit == "byte":
        return ByteVocabulary()
    if data.vocabulary is not None:
        return read_vocabulary(Path(data.vocabulary).expanduser(), data.unit)
    reader = _Reader(train)
    try:
        if data.unit == "char":
            seen = CharVocabulary.from_blocks(reader.blocks()).tokens
            return CharVocabulary([token for token in seen if token != " " or not data.strip_spaces])
        if data.unit == "word":
            return WordVocabulary.from_blocks(reader.blocks(), size=data.vocabulary_size, minimum=data.minimum_count)
        return _sentencepiece(data, reader)
    except UndecodableError as fault:
        offset = reader.begin + fault.offset
        raise undecodable_error(train.place(offset), train.locate(offset)[1], fault.byte) from None


def check_order(data: Data) -> None:
    """Refuse what only symbols can be read by.

    Raises:
        KeyFault: `strip_spaces` or `reverse` with words or sentencepiece pieces.
    """
    for key in ("strip_spaces", "reverse"):
        if getattr(data, key) and data.unit not in ("char", "byte"):
            raise KeyFault(f"data.{key}", f"{key} is for the units char and byte, and data.unit is {data.unit}")


def _check(data: Data) -> None:
    if data.minimum_count != 1 and (data.unit != "word" or data.vocabulary is not None):
        raise KeyFault("data.minimum_count", "minimum_count is for words that are counted: `data.unit=word`")
    if data.unit == "byte" and data.vocabulary is not None:
        raise KeyFault("data.vocabulary", "the unit byte has a fixed vocabulary of 256 bytes")
    if data.unit == "word" and data.vocabulary_size is not None and data.vocabulary_size < 3:
        raise KeyFault("data.vocabulary_size", "a word vocabulary holds `<eos>`, `<unk>` and at least one word")


class _Reader:
    """The blocks of a text, and where in the text the one in hand begins."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self.begin = 0

    def size(self) -> int:
        return self._text.size()

    def blocks(self) -> Iterator[bytes]:
        for block in self._text.blocks():
            yield block
            self.begin += len(block)


def _sentencepiece(data: Data, reader: _Reader) -> Vocabulary:
    if data.vocabulary_size is None:
        raise KeyFault("data.vocabulary_size", "`data.unit=sentencepiece` needs a vocabulary_size", hint="try 2000")
    every = max(1, -(-reader.size() // SAMPLE))
    try:
        return SentencePieceVocabulary.train(
            reader.blocks(), size=data.vocabulary_size, algorithm=data.sentencepiece.algorithm, every=every
        )
    except SentencePieceError as error:
        raise KeyFault("data.vocabulary_size", f"sentencepiece: {error}") from error
