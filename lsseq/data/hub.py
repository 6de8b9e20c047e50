"""Text data sets of the Hugging Face library `datasets`: from the hub, or from local files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lsseq.data.libraries import library
from lsseq.errors import RequestError, RunError, nearest
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import HubDataset

NAMES = {"train": ("train",), "valid": ("validation", "valid", "dev"), "test": ("test",)}
"""What the splits are called there."""

SHARES = (90, 95)


def dataset_rows(wanted: HubDataset) -> Mapping[str, Iterable[str]]:
    """The rows of the splits of a data set. Without a validation split, the rows of train are cut 90/5/5 in order.

    Raises:
        KeyFault: the data set, its training split or the column is not there.
        RunError: the hub cannot be reached, or `datasets` cannot be imported.
    """
    loaded = _load(wanted)
    found = {split: next((loaded[name] for name in names if name in loaded), None) for split, names in NAMES.items()}
    train, valid = found["train"], found["valid"]
    if train is None:
        raise KeyFault("data.dataset", f"{wanted.name} has no split train", hint="it has " + ", ".join(loaded))
    if wanted.column not in train.column_names:
        raise KeyFault(
            "data.dataset.column",
            f"{wanted.name} has no column `{wanted.column}`",
            suggestion=nearest(wanted.column, train.column_names),
            hint="it has " + ", ".join(train.column_names),
        )
    if valid is None:
        marks = [0, *(len(train) * share // 100 for share in SHARES), len(train)]
        cuts = zip(NAMES, marks[:-1], marks[1:], strict=True)
        return {split: _rows(train.select(range(start, end)), wanted.column) for split, start, end in cuts}
    return {split: _rows(part, wanted.column) for split, part in found.items() if part is not None}


def _load(wanted: HubDataset) -> Any:
    datasets = library("datasets")
    # The loader of plain text drops line ends; they are put back by `separator`, one for each row.
    try:
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
    for batch in part.select_columns([column]).iter(batch_size=1000):
        for row in batch[column]:
            if not isinstance(row, str):
                raise RequestError(f"the column `{column}` holds {type(row).__name__}, not text")
            yield row
