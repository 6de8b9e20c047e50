"""Texts with a label each, from files or a data set of the Hugging Face library."""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsseq.data.batches import START, Batch
from lsseq.data.sources import spooled
from lsseq.data.tasks.examples import Examples, Form, Numbers, at_the_end, class_chance, sum_of
from lsseq.data.tasks.labels import Row, Rows, class_names, dataset_rows, dealt, numbered
from lsseq.data.text import UndecodableError, chunks, decode, place_in, undecodable_error
from lsseq.data.vocabulary import Vocabulary
from lsseq.data.vocabulary.building import build_vocabulary, settings
from lsseq.errors import Place, RequestError, nearest
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data, Task, TextSplits


@dataclass(frozen=True)
class Texts:
    """The texts of a split, one behind the other."""

    tokens: np.ndarray[Any, np.dtype[Any]]
    ends: Numbers
    """(N,): where in the tokens each text ends."""
    labels: Numbers
    """(N,)"""

    @classmethod
    def of(cls, rows: Rows, vocabulary: Vocabulary, classes: tuple[str, ...]) -> Texts:
        """Rows in the tokens of a vocabulary.

        Raises:
            RequestError: with the place of the row, for an unknown label, a symbol that the vocabulary lacks, or a text
                without any token.
        """
        labels = numbered(rows, classes)
        texts = [_encoded(row, vocabulary) for row in rows]
        return cls(np.concatenate(texts), np.cumsum([len(text) for text in texts]), labels)

    @property
    def lengths(self) -> Numbers:
        return np.diff(self.ends, prepend=0)


class LabelledTexts(Examples):
    """Each text is a sequence of its tokens; the answer after the last one is its label.

    The vocabulary and the labels are those of the training split.
    """

    def __init__(
        self, parts: Mapping[str, Texts], vocabulary: Vocabulary, classes: tuple[str, ...], source: str
    ) -> None:
        self._parts = dict(parts)
        self.vocabulary = vocabulary
        self.form = Form(len(vocabulary), symbols=True, classes=classes)
        self.source = source
        sums = {
            name: hashlib.sha256(b"".join(map(np.ndarray.tobytes, (part.tokens, part.ends, part.labels)))).hexdigest()
            for name, part in parts.items()
        }
        self.fingerprint = sum_of({"vocabulary": vocabulary.contents(), "classes": classes, "parts": sums})

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def lengths(self, split: str) -> Numbers:
        return self._parts[split].lengths

    def batch(self, split: str, numbers: Numbers) -> Batch:
        part = self._parts[split]
        lengths = part.lengths[numbers]
        inputs = np.full((int(lengths.max()), len(numbers)), START, np.int64)
        for column, (end, length) in enumerate(zip(part.ends[numbers], lengths, strict=True)):
            inputs[:length, column] = part.tokens[end - length : end]
        return Batch(torch.from_numpy(inputs), *at_the_end(part.labels[numbers], lengths))

    def chance(self, split: str) -> dict[str, float]:
        assert self.form.classes is not None
        return class_chance(self._parts["train"].labels, self._parts[split].labels, len(self.form.classes))

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.vocabulary.save(folder)

    def with_file(self, name: str, path: Path, task: Task) -> LabelledTexts:
        """The same with the rows of a file as a split of that name.

        Raises:
            RequestError: as `read_rows` and `Texts.of`.
        """
        assert self.form.classes is not None
        part = Texts.of(read_rows(path, task), self.vocabulary, self.form.classes)
        return LabelledTexts({**self._parts, name: part}, self.vocabulary, self.form.classes, self.source)


def open_labelled(data: Data, task: Task, known: tuple[Vocabulary, tuple[str, ...]] | None = None) -> LabelledTexts:
    """The labelled texts that the `data` section names.

    Args:
        data: `text` or `dataset`, and what shapes the vocabulary.
        task: names the columns.
        known: a vocabulary and classes, used instead of those of the training split.

    Raises:
        KeyFault: no texts are named, they are not there, or a key that the unit cannot serve.
        RequestError: a file cannot be read, with its line.
    """
    settings(data)
    rows, source = _rows(data, task)
    classes = class_names(row.label for row in rows["train"])
    if len(classes) < 2:
        raise KeyFault("data.task", "the training rows have one label only: there is nothing to tell apart")
    vocabulary = _vocabulary(data, rows["train"])
    if known is not None:
        vocabulary, classes = known
    return LabelledTexts(
        {split: Texts.of(part, vocabulary, classes) for split, part in rows.items()}, vocabulary, classes, source
    )


def _rows(data: Data, task: Task) -> tuple[dict[str, Rows], str]:
    if data.dataset is not None:
        return dealt(dataset_rows(data.dataset, task.label), task.seed), data.dataset.name
    if data.text is None:
        raise KeyFault("data.text", "no labelled texts are named", hint="give data.text (.csv or .txt) or data.dataset")
    if isinstance(data.text, TextSplits):
        named = {split: path for split, path in data.text.model_dump().items() if path is not None}
        return {split: read_rows(_file(path), task) for split, path in named.items()}, ", ".join(named.values())
    paths = [data.text] if isinstance(data.text, str) else data.text
    rows = [row for path in paths for row in read_rows(_file(path), task)]
    return dealt({"train": rows}, task.seed), ", ".join(paths)


def _file(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    raise KeyFault("data.text", f"there is no file {path}", suggestion=nearest(path.name, beside))


def read_rows(path: Path, task: Task) -> Rows:
    """The labelled texts of a file, plain or .gz.

    A .csv file has a line with the names of its columns, then a row for each text. In any other file a line is a label,
    a tab and a text; empty lines are passed over.

    Raises:
        RequestError: the file is not UTF-8, a column is missing, or a row has not as many fields as there are columns.
    """
    content = b"".join(chunks(path)).removeprefix("\ufeff".encode())
    try:
        text = decode(content)
    except UndecodableError as fault:
        raise undecodable_error(place_in(content, fault.offset, str(path)), fault.offset, fault.byte) from None
    rows = _table(text, path, task) if path.name.lower().removesuffix(".gz").endswith(".csv") else _lines(text, path)
    if not rows:
        raise RequestError(f"there are no labelled texts in {path}")
    return rows


def _lines(text: str, path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        label, tab, value = line.rstrip("\r").partition("\t")
        place = Place(str(path), number)
        if not tab and label.strip():
            raise RequestError("this line is not a label, a tab and a text", place)
        if tab:
            rows.append(Row(value, label.strip(), place))
    return rows


def _table(text: str, path: Path, task: Task) -> list[Row]:
    # The module's limit, 128 KiB a field, is shorter than many a document.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begin, rows = 1, []
    columns: list[str] | None = None
    try:
        for fields in reader:
            place, begin = Place(str(path), begin), reader.line_num + 1
            if columns is None:
                columns = fields
                of_text, of_label = (_index(columns, key, getattr(task, key), place) for key in ("column", "label"))
            elif len(fields) != len(columns) and fields:
                raise RequestError(f"this row has {len(fields)} fields, and there are {len(columns)} columns", place)
            elif fields:
                rows.append(Row(fields[of_text], fields[of_label].strip(), place))
    except csv.Error as error:
        raise RequestError(f"the CSV file cannot be read: {error}", Place(str(path), reader.line_num)) from error
    return rows


def _index(columns: list[str], key: str, name: str, place: Place) -> int:
    if name in columns:
        return columns.index(name)
    raise RequestError(
        f"there is no column `{name}` (data.task.{key})",
        place,
        nearest(name, columns),
        hint="the columns are " + ", ".join(columns),
    )


def _vocabulary(data: Data, rows: Rows) -> Vocabulary:
    # What stands between two texts must part words and pieces, and must be no symbol of its own.
    separator = "\n" if data.unit in ("word", "sentencepiece") else ""
    with spooled({"train": (_text(row) for row in rows)}, separator) as texts:
        return build_vocabulary(data, texts["train"])


def _text(row: Row) -> str:
    if not isinstance(row.value, str):
        raise RequestError(f"the column of the text holds {type(row.value).__name__}", row.place)
    return row.value


def _encoded(row: Row, vocabulary: Vocabulary) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        tokens = vocabulary.encode(_text(row))
    except RequestError as error:
        raise RequestError(f"in this text {error.message}", row.place, hint=error.hint) from None
    if not len(tokens):
        raise RequestError("this text is empty: there is nothing to read", row.place)
    return tokens.astype(vocabulary.dtype)
