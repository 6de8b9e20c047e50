"""Rows with a label each: how they are divided into splits, and how their labels are numbered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsseq.data.hub import labelled_rows
from lsseq.data.tasks.examples import Numbers
from lsseq.errors import Place, RequestError, nearest
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import HubDataset

FEWEST = 20
"""Rows that can be divided: one in twenty is for validation."""


@dataclass(frozen=True)
class Row:
    """An example as it was read."""

    value: Any
    label: str
    place: Place
    """Where it stands, for errors."""


Rows = Sequence[Row]


def dealt(splits: Mapping[str, Rows], seed: int) -> dict[str, Rows]:
    """The same with a validation split. Where there is none, the training rows are dealt at random, by
    `numpy.random.RandomState(seed).permutation`: 90/5/5, or 95/5 where there is a test split.

    Raises:
        KeyFault: they are too few to be divided.
    """
    train = splits["train"]
    if "valid" in splits:
        return dict(splits)
    if len(train) < FEWEST:
        raise KeyFault("data", f"{len(train)} rows are too few to divide", hint=f"give at least {FEWEST}, or splits")
    order = [train[number] for number in np.random.RandomState(seed).permutation(len(train))]
    held = len(train) // 20
    if "test" in splits:
        return {"train": order[held:], "valid": order[:held], "test": splits["test"]}
    return {"train": order[2 * held :], "valid": order[:held], "test": order[held : 2 * held]}


def dataset_rows(wanted: HubDataset, label: str) -> dict[str, Rows]:
    """The rows of a data set of the Hugging Face library.

    Raises: as `labelled_rows`.
    """
    return {
        split: [
            Row(value, name, Place(f"{wanted.name}, {split}", number))
            for number, (value, name) in enumerate(rows, start=1)
        ]
        for split, rows in labelled_rows(wanted, label).items()
    }


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes of a training split: first numbers in the order of their values, then names in alphabetical order."""
    return tuple(sorted(set(labels), key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name)))


def numbered(rows: Rows, classes: Sequence[str]) -> Numbers:
    """(N,): the number of each row's label among the classes.

    Raises:
        RequestError: a label that no training row has, with its place.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    for row in rows:
        if row.label not in numbers:
            known = ", ".join(classes[:10]) + (" …" if len(classes) > 10 else "")
            raise RequestError(
                f"no training row has the label `{row.label}`",
                row.place,
                nearest(row.label, list(classes)),
                hint=f"the labels of the training split are {known}",
            )
    return np.array([numbers[row.label] for row in rows], np.int64)
