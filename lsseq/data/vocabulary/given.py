"""Vocabularies made elsewhere: the file that `data.vocabulary` names, and torchtext objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from lsseq.data.vocabulary.base import Vocabulary
from lsseq.data.vocabulary.store import load_vocabulary_file
from lsseq.data.vocabulary.symbols import CharVocabulary
from lsseq.data.vocabulary.torchtext import read_torchtext
from lsseq.data.vocabulary.words import UNKNOWN, WordVocabulary
from lsseq.errors import Place, RequestError
from lsseq.recipe.faults import KeyFault


class TorchtextVocab(Protocol):
    """The part of `torchtext.vocab.Vocab` that is read."""

    def get_itos(self) -> list[str]: ...

    def get_default_index(self) -> int | None: ...


def from_torchtext(vocab: TorchtextVocab, unit: Literal["char", "word"] = "word") -> Vocabulary:
    """The vocabulary of a `torchtext.vocab.Vocab`, with the same numbers.

    Its default index becomes the unknown token. A token `<eos>` is what line feeds are read as; without one they are
    white space.

    Raises:
        ValueError: the tokens are not all different, or with `char` not all single characters.
    """
    return _listed(vocab.get_itos(), vocab.get_default_index(), unit)


def read_vocabulary(path: Path, unit: Literal["char", "word", "sentencepiece"]) -> Vocabulary:
    """A vocabulary file: one token a line, an lsseq vocabulary.json, or a saved torchtext `Vocab`.

    In a file with one token a line, `<unk>` is the unknown token where it is there.

    Raises:
        KeyFault: the file is missing, or its units are not those that are asked for.
        RequestError: it cannot be read; says where.
    """
    if not path.is_file():
        raise KeyFault("data.vocabulary", f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(2)
    if path.suffix == ".json":
        vocabulary = load_vocabulary_file(path)
        if vocabulary.unit != unit:
            raise KeyFault("data.vocabulary", f"{path} is a vocabulary of the unit {vocabulary.unit}, not {unit}")
        return vocabulary
    if unit == "sentencepiece":
        raise KeyFault("data.vocabulary", f"{path} is not a vocabulary.json, which a sentencepiece vocabulary needs")
    if head[:1] == b"\x80" or head == b"PK":
        tokens, default = read_torchtext(path)
    else:
        tokens = _lines(path)
        default = tokens.index(UNKNOWN) if UNKNOWN in tokens else None
    try:
        return _listed(tokens, default, unit)
    except ValueError as error:
        raise RequestError(str(error), Place(str(path))) from error


def _listed(tokens: Sequence[str], default: int | None, unit: Literal["char", "word"]) -> Vocabulary:
    unknown = None if default is None else tokens[default]
    return CharVocabulary(tokens, unknown) if unit == "char" else WordVocabulary(tokens, unknown)


def _lines(path: Path) -> list[str]:
    try:
        tokens = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise RequestError(f"the byte at offset {error.start} is not UTF-8", Place(str(path))) from error
    if tokens[-1] == "":
        tokens.pop()
    tokens = [token.removesuffix("\r") for token in tokens]
    seen: set[str] = set()
    for number, token in enumerate(tokens, start=1):
        if not token or token in seen:
            what = f"the token {token!r} stands twice" if token else "an empty line is no token"
            raise RequestError(what, Place(str(path), number))
        seen.add(token)
    if not tokens:
        raise RequestError("the vocabulary file is empty", Place(str(path)))
    return tokens
