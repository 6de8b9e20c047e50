"""What every task is: numbered sequences, each with what is to be answered.

Shape letters: T time, B batch (sequences side by side), I channels.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from lsseq.data.batches import Batch
from lsseq.errors import RunError
from lsseq.json_text import parse_json

Numbers = np.ndarray[Any, np.dtype[np.int64]]
FILE = "task.json"


@dataclass(frozen=True)
class Form:
    """What a model of a task reads and answers."""

    inputs: Annotated[int, Field(ge=1, lt=2**31)]
    """V, where it reads symbols; else I, the numbers of a step."""
    symbols: bool
    """It reads symbols."""
    classes: tuple[str, ...] | None
    """The names of what it chooses from; None where it answers with a number."""
    ignored: int | None = None
    """The class that is no answer: where it is right to say nothing, the accuracy does not count."""

    @property
    def solution(self) -> dict[str, float]:
        """The figures of a model that is always right."""
        return {"mse": 0.0} if self.classes is None else {"nll": 0.0, "accuracy": 1.0}

    def save(self, folder: Path) -> None:
        """Write task.json into a folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Form:
        """Read what `save` wrote.

        Raises:
            RunError: the file is missing or damaged.
        """
        path = folder / FILE
        try:
            return TypeAdapter(cls).validate_python(parse_json(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise RunError(f"the file {path} is missing") from None
        except ValidationError as error:
            first = error.errors()[0]
            raise RunError(f"the file {path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except ValueError as error:
            raise RunError(f"the file {path} is damaged: {error}") from error


class Examples(ABC):
    """The sequences of a task. The n-th of a split is the same whenever it is asked for."""

    form: Form
    fingerprint: str
    """Sum of all that the sequences depend on: equal fingerprints mean equal sequences."""
    source: str
    """What they are, for people."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """`train`, `valid`, and `test` where there is one."""

    @abstractmethod
    def lengths(self, split: str) -> Numbers:
        """(N,): the steps of each sequence of a split."""

    @abstractmethod
    def batch(self, split: str, numbers: Numbers) -> Batch:
        """Sequences of a split, (B,) of their numbers, side by side: inputs (T, B) of symbols or (T, B, I) of float32.

        The mask is True where something is to be answered, None where it is at every step.
        """

    @abstractmethod
    def chance(self, split: str) -> dict[str, float]:
        """The figures of the best answer that looks at no sequence."""

    def save(self, folder: Path) -> None:
        """Write into a run folder what its model cannot be used without."""
        self.form.save(folder)


def at_the_end(values: np.ndarray[Any, Any], lengths: Numbers) -> tuple[Tensor, Tensor]:
    """Targets and mask, (T, B) each, of sequences with one answer each, after their last step.

    Args:
        values: (B,) of the answers, of int64 or float32.
        lengths: (B,) of the sequences; T is the largest.
    """
    shape = (int(lengths.max()), len(lengths))
    targets, mask = np.zeros(shape, values.dtype), np.zeros(shape, np.bool_)
    ends = (lengths - 1, np.arange(len(lengths)))
    targets[ends], mask[ends] = values, True
    return torch.from_numpy(targets), torch.from_numpy(mask)


def class_chance(train: Numbers, split: Numbers, classes: int) -> dict[str, float]:
    """The figures of a guess that knows only how often each class occurs in training.

    - `accuracy`: of always naming the most frequent one.
    - `nll`: nats of the frequencies, one added to each count, so that no class is impossible.

    Args:
        train: (N,) classes of the training split.
        split: (M,) classes of the split that is measured.
        classes: how many there are.
    """
    counts = np.bincount(train, minlength=classes)
    log_p = np.log((counts + 1) / (counts.sum() + classes))
    return {"nll": float(-log_p[split].mean()), "accuracy": float((split == counts.argmax()).mean())}


def sum_of(values: Mapping[str, Any]) -> str:
    """A fingerprint of values that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
