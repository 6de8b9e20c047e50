"""Text data sets of the Hugging Face library `datasets`: from the hub, or from local files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lsseq.data.libraries import library
from lsseq.errors import RequestError, RunError, nearest
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import HubDataset

NAMES = {"train": ("train",), "valid": ("validation", "valid", "dev"), "test": ("test",)}
"""What the splits are called there."""

SHARES = (90, 95)

SAVED = ("dataset_dict.json", "state.json")
"""One of them lies in a folder that `save_to_disk` wrote."""

TOGETHER = 4_000_000
"""Bytes of text of the rows, of the mean length, that are read at a time."""


def dataset_rows(wanted: HubDataset) -> Mapping[str, Iterable[str]]:
    """The rows of the splits of a data set. Without a validation split, the rows of train are cut 90/5/5 in order.

    Raises:
        KeyFault: the data set, its training split or the column is not there.
        RunError: the hub cannot be reached, or `datasets` cannot be imported.
    """
    found = _splits(wanted, {"data.dataset.column": wanted.column})
    train = found["train"]
    if "valid" not in found:
        marks = [0, *(len(train) * share // 100 for share in SHARES), len(train)]
        cuts = zip(NAMES, marks[:-1], marks[1:], strict=True)
        return {split: _rows(train.select(range(start, end)), wanted.column) for split, start, end in cuts}
    return {split: _rows(part, wanted.column) for split, part in found.items()}


def labelled_rows(wanted: HubDataset, label: str) -> Mapping[str, Iterator[tuple[Any, str]]]:
    """The same with a label for each row, from the column of that name: its text, or the name of its class. The other
    column may hold anything. `valid` and `test` are absent where the data set has none.

    Raises:
        KeyFault: the data set, its training split or a column is not there.
        RunError: the hub cannot be reached, or `datasets` cannot be imported.
    """
    found = _splits(wanted, {"data.dataset.column": wanted.column, "data.task.label": label})
    return {split: _labelled(part, wanted.column, label) for split, part in found.items()}


def _splits(wanted: HubDataset, columns: Mapping[str, str]) -> dict[str, Any]:
    """The splits that there are, under our names. `columns` must be in them; each stands under its key."""
    loaded = _load(wanted)
    found = {split: next((loaded[name] for name in names if name in loaded), None) for split, names in NAMES.items()}
    train = found["train"]
    if train is None:
        raise KeyFault("data.dataset", f"{wanted.name} has no split train", hint="it has " + ", ".join(loaded))
    for key, column in columns.items():
        if column not in train.column_names:
            raise KeyFault(
                key,
                f"{wanted.name} has no column `{column}`",
                suggestion=nearest(column, train.column_names),
                hint="it has " + ", ".join(train.column_names),
            )
    return {split: part for split, part in found.items() if part is not None}


def _load(wanted: HubDataset) -> Any:
    datasets = library("datasets")
    # The loader of plain text drops line ends; they are put back by `separator`, one for each row.
    try:
        if any((Path(wanted.name) / file).is_file() for file in SAVED):
            saved = datasets.load_from_disk(wanted.name)
            return saved if isinstance(saved, dict) else {"train": saved}
        return datasets.load_dataset(wanted.name, wanted.config, data_files=wanted.files, revision=wanted.revision)
    except ConnectionError as error:
        raise RunError(
            f"the data set {wanted.name} cannot be fetched: {error}",
            hint="with files at hand, read them by a local form: `data.dataset={name: parquet, files: FILE.parquet}`, "
            "`{name: text, files: FILE.txt}`, or plain text by `data.text=FILE`",
        ) from error
    except (FileNotFoundError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise KeyFault("data.dataset", f"the data set {wanted.name} cannot be read: {error}") from error


def _rows(part: Any, column: str) -> Iterator[str]:
    texts = part.select_columns([column])
    together = TOGETHER * len(texts) // max(1, texts.data.nbytes)
    for batch in texts.iter(batch_size=min(max(1, together), 1000)):
        for row in batch[column]:
            if not isinstance(row, str):
                raise RequestError(f"the column `{column}` holds {type(row).__name__}, not text")
            yield row


def _labelled(part: Any, column: str, label: str) -> Iterator[tuple[Any, str]]:
    named = getattr(part.features[label], "int2str", str)
    for row in part.select_columns([column, label]):
        yield row[column], str(named(row[label]))
