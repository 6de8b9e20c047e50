"""From the `data` section of a recipe to tokens."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lsseq.data.files import text_sum, whole_folder
from lsseq.data.gold import Gold
from lsseq.data.sources import Found, find_texts, levels_of, spooled
from lsseq.data.spaces import Counts
from lsseq.data.stretches import ArrayText, FileText, MarkedText, RespacedText, Stretch
from lsseq.data.tokens import Encoded, Written, encode_text, encoded_file, mapped, write_tokens
from lsseq.data.vocabulary import Vocabulary, load_vocabulary
from lsseq.data.vocabulary.building import build_vocabulary, check_order, settings
from lsseq.errors import LsseqError
from lsseq.json_text import parse_json
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data
from lsseq.resources import data_folder

VERSION = 3
"""Of the folder that holds the tokens of a text: another version encodes anew."""


@dataclass(frozen=True)
class Marks:
    """What the gold of a split is made from."""

    vocabulary: Vocabulary
    data: Data
    """Says what the spaces mark."""
    gaps: Counts | None
    """As those of `lsseq.data.tokens.Encoded`."""


@dataclass(frozen=True)
class Split:
    """One part of a text, as it is read: with `data.strip_spaces` without spaces, with `data.reverse` backwards."""

    tokens: np.ndarray[Any, np.dtype[Any]]
    """1-D, in the order in which they are read; uint8, uint16 or int32. Those of `open_text` and `open_file` are mapped
    into memory read-only."""
    characters: int | None
    """Unicode code points of the text as the corpus gives it, but for spaces that were taken out; None where it is not
    UTF-8."""
    bytes: int
    """Bytes of the same text."""
    whole: bool = False
    """It is the whole of a corpus without splits, which the model was trained on."""
    marks: Marks | None = None

    @cached_property
    def gold(self) -> Gold | None:
        """Where units truly end; None where the text does not tell. It is computed at the first use."""
        gold = Stretch.joined([*self.marked()]).gold if len(self.tokens) else None
        return gold if gold is not None and gold.marks else None

    def marked(self, gold: Path | None = None) -> Iterable[Stretch]:
        """The tokens with their gold, piece by piece and as often as it is iterated; see `read_file`."""
        text = ArrayText(self.tokens, None if self.marks is None else self.marks.gaps)
        return text if self.marks is None else _marked(text, self.marks.vocabulary, self.marks.data, gold)


@dataclass(frozen=True)
class TextData:
    """A text in tokens, and the vocabulary that numbers them."""

    vocabulary: Vocabulary
    splits: dict[str, Split]
    """`train`, `valid`, and `test` where there is one."""
    fingerprint: str
    """Sum of the vocabulary and of all tokens: equal fingerprints mean equal data."""
    source: str
    """What the text is, for people."""

    @classmethod
    def from_iterables(
        cls,
        splits: Mapping[str, Iterable[str]],
        data: Data,
        *,
        separator: str = "\n",
        vocabulary: Vocabulary | None = None,
    ) -> TextData:
        """Tokens of texts given as strings, such as the rows of a torchtext data set.

        Args:
            splits: strings for `train` and `valid`, perhaps `test`; read once each.
            data: `unit` and what shapes the vocabulary; its sources are not read.
            separator: what is put after each string.
            vocabulary: used instead of one built from the training split.

        Raises:
            RequestError: as `open_text`.
        """
        check_order(data)
        with spooled(splits, separator) as texts:
            return _open(Found("an iterable of strings", texts, "data"), data, vocabulary)


def open_text(data: Data, vocabulary: Vocabulary | None = None) -> TextData:
    """The tokens of the text that a recipe names.

    The corpus `python-docs` is prepared where it is not yet; other corpora must have been (`lsseq data prepare`). The
    vocabulary is built from the training split alone. Tokens are kept under `$LSSEQ_DATA/tokens`, in a folder named
    by a sum over the bytes of the text and the settings of the vocabulary, so that changed text or settings never
    meet old tokens.

    Args:
        data: the `data` section.
        vocabulary: used instead of the one that `data` describes, for example a run's own.

    Raises:
        KeyFault: an unknown or unprepared corpus, a missing file, a text too short, a key that the unit cannot serve.
        RequestError: with file, line and column, for a byte that is not UTF-8 or a symbol unseen in training.
    """
    check_order(data)
    with find_texts(data) as found:
        return _open(found, data, vocabulary)


def read_text(text: str | bytes, vocabulary: Vocabulary, data: Data, source: str = "text") -> Split:
    """A text in memory, read as a recipe reads its own.

    Args:
        text: characters, or UTF-8 bytes (any bytes where the unit is the byte).
        vocabulary: of the model that reads it.
        data: `strip_spaces` and `reverse` are followed; its sources are not read.
        source: what an error calls the text.

    Raises:
        RequestError: with line and column, for a byte that is not UTF-8 or a symbol that the vocabulary lacks.
    """
    return _split(encode_text(text, vocabulary, source, strip_spaces=data.strip_spaces), vocabulary, data)


@contextlib.contextmanager
def open_file(path: Path, vocabulary: Vocabulary, data: Data) -> Iterator[Split]:
    """A file, plain or .gz, read as a recipe reads its own, in memory that does not grow with it.

    Its tokens lie in temporary files (in `$TMPDIR`) until the block ends.

    Args:
        path: of the text.
        vocabulary: of the model that reads it.
        data: `strip_spaces` and `reverse` are followed; its sources are not read.

    Raises:
        RequestError: there is no such file, and as `read_text`.
    """
    with encoded_file(path, vocabulary, strip_spaces=data.strip_spaces) as encoded:
        yield _split(encoded, vocabulary, data)


def _split(encoded: Encoded, vocabulary: Vocabulary, data: Data, *, whole: bool = False) -> Split:
    text = encoded.reversed() if data.reverse else encoded
    return Split(text.tokens, text.characters, text.bytes, whole, Marks(vocabulary, data, text.gaps))


def read_file(path: Path, vocabulary: Vocabulary, data: Data, gold: Path | None = None) -> Iterable[Stretch]:
    """A file, plain or .gz, read as a recipe reads its own, with its gold, in memory that does not grow with it.

    It is read anew whenever it is iterated.

    Args:
        path: of the text.
        vocabulary: of the model that reads it.
        data: `strip_spaces` and `reverse` are followed, and say what the spaces mark; its sources are not read.
        gold: a file with the same text, whose spaces are the gold instead of those of the text.

    Iterating raises:
        RequestError: as `FileText`, and as `RespacedText`.
    """
    return _marked(FileText(path, vocabulary, data.strip_spaces, data.reverse), vocabulary, data, gold)


def _marked(text: Iterable[Stretch], vocabulary: Vocabulary, data: Data, gold: Path | None) -> Iterable[Stretch]:
    if gold is not None:
        spaced = FileText(gold, vocabulary, strip_spaces=True, reverse=data.reverse)
        text = RespacedText(text, spaced, gold, vocabulary, data.reverse)
    return MarkedText(text, vocabulary, levels_of(data))


def _open(found: Found, data: Data, vocabulary: Vocabulary | None) -> TextData:
    key = {
        "version": VERSION,
        "texts": {split: text_sum(text) for split, text in found.texts.items()},
        "strip_spaces": data.strip_spaces,
        "vocabulary": settings(data) if vocabulary is None else {"given": _sum_of(vocabulary)},
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    folder = data_folder() / "tokens" / name
    opened = _read(folder, found, data)
    if opened is None:
        with whole_folder(folder, replace=folder.exists()) as unfinished:
            _write(unfinished, found, data, vocabulary)
        opened = _read(folder, found, data)
        if opened is None:
            raise AssertionError(f"{folder} cannot be read back")
    _note_size(opened.vocabulary, data)
    return opened


def _write(folder: Path, found: Found, data: Data, vocabulary: Vocabulary | None) -> None:
    for split, text in found.texts.items():
        if next(text.chunks(), b"") == b"":
            raise _empty(split, found)
    if vocabulary is None:
        vocabulary = build_vocabulary(data, found.texts["train"])
    written = {}
    for split, text in found.texts.items():
        written[split] = write_tokens(text, vocabulary, *_files(folder, split, data))
    for split, facts in written.items():
        if facts.tokens == 0:
            raise _empty(split, found)
    vocabulary.save(folder)
    fingerprint = hashlib.sha256(
        json.dumps([_sum_of(vocabulary), {split: facts.sha256 for split, facts in written.items()}]).encode()
    ).hexdigest()
    facts_of = {split: asdict(facts) for split, facts in written.items()}
    (folder / "tokens.json").write_text(json.dumps({"fingerprint": fingerprint, "splits": facts_of}, indent=1))


def _files(folder: Path, split: str, data: Data) -> tuple[Path, Path | None]:
    """Of a split's tokens and, where spaces are taken out, its gaps."""
    return folder / f"{split}.npy", folder / f"{split}.gaps.npy" if data.strip_spaces else None


def _empty(split: str, found: Found) -> KeyFault:
    return KeyFault(found.key, f"the {split} split of {found.source} is empty", hint="every split needs some text")


def _read(folder: Path, found: Found, data: Data) -> TextData | None:
    """What a folder of tokens holds; None where it is missing or was damaged from outside."""
    try:
        facts = parse_json((folder / "tokens.json").read_text(encoding="utf-8"))
        vocabulary = load_vocabulary(folder)
        splits = {}
        for name, values in facts["splits"].items():
            encoded = mapped(Written(**values), *_files(folder, name, data))
            splits[name] = _split(encoded, vocabulary, data, whole=found.whole)
        fingerprint = facts["fingerprint"] + ("-reversed" if data.reverse else "")
        return TextData(vocabulary, splits, fingerprint, found.source)
    except (OSError, EOFError, ValueError, KeyError, TypeError, LsseqError):
        return None


def _sum_of(vocabulary: Vocabulary) -> str:
    return hashlib.sha256(json.dumps([vocabulary.unit, vocabulary.contents()]).encode()).hexdigest()


def _note_size(vocabulary: Vocabulary, data: Data) -> None:
    """A recipe may state how many symbols its corpus has, so that it can be checked without the corpus.

    What a base states of its corpus says nothing about own text that takes the corpus' place.
    """
    stated, actual = data.vocabulary_size, len(vocabulary)
    own_text = data.text is not None or data.dataset is not None
    wished = vocabulary.unit == "sentencepiece" or (vocabulary.unit != "word" and not own_text)
    if wished and stated not in (None, actual):
        print(f"note: data.vocabulary_size is {stated}, and the text gives {actual} symbols", file=sys.stderr)
