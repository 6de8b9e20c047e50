"""The vocabulary that a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lsseq.data.text import Text, UndecodableError, undecodable_error
from lsseq.data.vocabulary.base import Vocabulary
from lsseq.data.vocabulary.pieces import SentencePieceError, SentencePieceVocabulary
from lsseq.data.vocabulary.symbols import ByteVocabulary, CharVocabulary
from lsseq.data.vocabulary.words import WordVocabulary
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data


def settings(data: Data) -> dict[str, Any]:
    """What the vocabulary depends on beside the training text; equal settings and text give an equal vocabulary."""
    chosen: dict[str, Any] = {"unit": data.unit}
    if data.unit == "word":
        chosen |= {"size": data.vocabulary_size, "minimum": data.minimum_count}
    elif data.unit == "sentencepiece":
        chosen |= {"size": data.vocabulary_size, "algorithm": data.sentencepiece.algorithm}
    return chosen


def build_vocabulary(data: Data, train: Text) -> Vocabulary:
    """The vocabulary of a training text.

    Raises:
        KeyFault: a key that the unit cannot serve.
        RequestError: a byte of the text is not UTF-8.
    """
    if data.unit == "byte":
        return ByteVocabulary()
    reader = _Reader(train)
    try:
        if data.unit == "char":
            return CharVocabulary.from_blocks(reader.blocks())
        if data.unit == "word":
            return WordVocabulary.from_blocks(reader.blocks(), size=data.vocabulary_size, minimum=data.minimum_count)
        return _sentencepiece(data, reader)
    except UndecodableError as fault:
        offset = reader.begin + fault.offset
        raise undecodable_error(train.place(offset), train.locate(offset)[1], fault.byte) from None


class _Reader:
    """The blocks of a text, and where in the text the one in hand begins."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self.begin = 0

    def blocks(self) -> Iterator[bytes]:
        for block in self._text.blocks():
            yield block
            self.begin += len(block)


def _sentencepiece(data: Data, reader: _Reader) -> Vocabulary:
    if data.vocabulary_size is None:
        raise KeyFault("data.vocabulary_size", "`data.unit=sentencepiece` needs a vocabulary_size", hint="try 2000")
    try:
        return SentencePieceVocabulary.train(
            reader.blocks(), size=data.vocabulary_size, algorithm=data.sentencepiece.algorithm
        )
    except SentencePieceError as error:
        raise KeyFault("data.vocabulary_size", f"sentencepiece: {error}") from error
