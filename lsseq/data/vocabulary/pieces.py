"""Sentencepiece: subword units learned from the training text (Kudo 2018, unigram; Sennrich et al. 2016, BPE).

The settings lose nothing: no normalisation, every white space kept, bytes for rare characters, and the line feed as a
piece of its own. One hole is closed here: sentencepiece writes the space as U+2581, so a U+2581 of the text would
come back as a space. It is escaped before sentencepiece sees it and restored afterwards.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lsseq.data.libraries import library
from lsseq.data.text import decode
from lsseq.data.vocabulary.base import Ids, Vocabulary

MODEL = "sentencepiece.model"

_SPACE = "\u2581"
_ESCAPE = "\U0010fffd"
"""A private-use character: `ESCAPE 1` stands for U+2581 and `ESCAPE 0` for itself."""

_LONGEST = 2000
"""Characters of a training sentence: sentencepiece leaves out what has more than 4192 bytes by default."""


class SentencePieceError(Exception):
    """Sentencepiece refuses the size of the vocabulary, or the text."""


class SentencePieceVocabulary(Vocabulary):
    """A trained sentencepiece model.

    Args:
        model: the bytes of the model file.

    Raises:
        ValueError: they are not a sentencepiece model.
    """

    unit = "sentencepiece"
    lossless = True

    def __init__(self, model: bytes) -> None:
        self.model = model
        try:
            self._processor = library("sentencepiece").SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError(f"not a sentencepiece model: {error}") from error
        newline = self._processor.piece_to_id("\n")
        self.start: int | None = None if newline == self._processor.unk_id() else newline

    @classmethod
    def train(
        cls,
        blocks: Iterable[bytes],
        *,
        size: int,
        algorithm: Literal["unigram", "bpe"] = "unigram",
        every: int = 1,
    ) -> SentencePieceVocabulary:
        """Learn the pieces from a text; the same text gives the same model to the byte.

        There are fewer than `size` where the text has no more that are worth a number.

        Args:
            blocks: as `lsseq.data.text.blocks` cuts them.
            size: the largest number of pieces.
            algorithm: of sentencepiece.
            every: learn from one sentence in so many. Sentencepiece can draw some itself, but takes no seed for it.

        Raises:
            UndecodableError: a byte is not UTF-8.
            SentencePieceError: sentencepiece cannot make a vocabulary of that size from the text.
        """
        trainer = library("sentencepiece").SentencePieceTrainer
        model, sentences = io.BytesIO(), _Sentences(blocks)
        try:
            trainer.train(
                sentence_iterator=islice(sentences, 0, None, every),
                model_writer=model,
                model_type=algorithm,
                vocab_size=size,
                hard_vocab_limit=False,
                # Nothing of the text is changed or lost.
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                byte_fallback=True,
                character_coverage=1.0,
                user_defined_symbols=["\n"],
                max_sentence_length=8 * _LONGEST,
                # Unknown must exist; no other control piece is used.
                bos_id=-1,
                eos_id=-1,
                # The unigram algorithm gives other pieces with another number of threads.
                num_threads=1,
                minloglevel=2,
            )
        except (RuntimeError, ValueError) as error:
            sentences.check()
            raise SentencePieceError(_explained(str(error))) from error
        sentences.check()
        return cls(model.getvalue())

    def __len__(self) -> int:
        return int(self._processor.vocab_size())

    def encode_block(self, block: bytes) -> Ids:
        # No piece holds a line feed beside other characters, so lines can be encoded one by one.
        encoded: list[list[int]] = self._processor.encode(_lines(_escape(decode(block))))
        return np.fromiter((index for line in encoded for index in line), np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        return _unescape(str(self._processor.decode([int(index) for index in ids])))

    def token(self, index: int) -> str:
        return _unescape(str(self._processor.id_to_piece(int(index))).replace(_SPACE, " "))

    def contents(self) -> dict[str, Any]:
        return {"model": MODEL, "sha256": hashlib.sha256(self.model).hexdigest()}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL).write_bytes(self.model)
        super().save(folder)


def _escape(text: str) -> str:
    if _ESCAPE in text:
        text = text.replace(_ESCAPE, _ESCAPE + "0")
    return text.replace(_SPACE, _ESCAPE + "1")


def _unescape(text: str) -> str:
    # No text ends inside an escape, but a part of one may: it is an incomplete character, as half of UTF-8's bytes are.
    if text.endswith(_ESCAPE):
        text = text[:-1] + "\N{REPLACEMENT CHARACTER}"
    return text.replace(_ESCAPE + "1", _SPACE).replace(_ESCAPE + "0", _ESCAPE)


def _lines(text: str) -> list[str]:
    *ended, last = text.split("\n")
    return [line + "\n" for line in ended] + ([last] if last else [])


def _explained(told: str) -> str:
    if small := re.search(r"smaller than required_chars\. (\d+) vs (\d+)", told):
        return f"{small[1]} are too few: the bytes and the characters of the text alone are {small[2]}"
    return told.rsplit("] ", 1)[-1].strip() or "the text has nothing to learn from"


class _Sentences:
    """The lines of a text, the long ones cut after a space where there is one.

    Sentencepiece turns every error of its input into one of its own, so an error ends the input and is kept.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for block in self._blocks:
                for line in _escape(decode(block)).split("\n"):
                    yield from _short(line)
        except Exception as error:
            self._error = error

    def check(self) -> None:
        """Raise the error that ended the input."""
        if self._error is not None:
            raise self._error


def _short(line: str) -> Iterator[str]:
    start = 0
    while len(line) - start > _LONGEST:
        end = line.rfind(" ", start, start + _LONGEST) + 1 or start + _LONGEST
        yield line[start:end]
        start = end
    if start < len(line):
        yield line[start:]
