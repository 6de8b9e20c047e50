"""Reading a text with a model: the one loop that all ways to measure share.

Shape letters: T time, B batch (streams or pieces side by side).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lsseq.data.batches import Batch, Window
from lsseq.model.base import Extras, SequenceModel
from lsseq.nn.state import State
from lsseq.processes.group import ALONE, Processes

_IN_MEMORY = 1 << 24
"""Bytes of the nll of all tokens that are kept in memory."""
_PIECE = 1 << 20
"""Bytes that are read at a time."""


class Reader(Protocol):
    """A way to read a text window by window; it keeps the state in between."""

    mode: str
    """Name of the way: `deterministic`, `dynamic` or `cache`."""
    window: int | None
    """Steps of a window, where they are part of the definition; None where any number gives the same."""

    def read(self, batch: Batch, fresh: bool) -> Tensor:
        """(T, B): the negative log-likelihood of each target in nats, 0 where it is masked.

        With `fresh` the state starts anew; else it is what the window before left.
        """


class StaticReader:
    """The model as it was trained, with nothing but its recurrent state carried along."""

    mode = "deterministic"
    window: int | None = None

    def __init__(self, model: SequenceModel) -> None:
        self.model = model
        self.state: State = None
        self.told = Means()

    @torch.inference_mode()
    def read(self, batch: Batch, fresh: bool) -> Tensor:
        score = self.model.score(batch, None if fresh else self.state)
        self.state = score.state
        self.told.add(score.extras, batch)
        return score.nll


class Means:
    """The means over a text of what a model tells of every token."""

    def __init__(self) -> None:
        self._sums: Extras = {}
        self._tokens = 0

    def add(self, extras: Extras, batch: Batch) -> None:
        """What was told of a window: those that are (T, B, ·) count."""
        told = {name: values for name, values in extras.items() if values.shape[:2] == batch.targets.shape}
        self._tokens += batch.tokens if told else 0
        for name, values in told.items():
            counted = values.flatten(0, 1) if batch.mask is None else values[batch.mask]
            self._sums[name] = self._sums.get(name, 0) + counted.sum(0, dtype=torch.float64)

    def values(self) -> Extras:
        """By name, without the dimensions of time and batch."""
        return {name: total / self._tokens for name, total in self._sums.items()}


class Tokenwise:
    """Keeps the nll of every token and puts them into the order of the text; those of a long text are kept on disk."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - it lives as long as this

    def add(self, window: Window, nll: Tensor) -> None:
        """The (T, B) nll of a window of `evaluation_windows`."""
        assert window.places is not None
        mask = window.batch.mask
        # Nothing but what lies beyond the end of the text is masked.
        counts = [len(nll)] * nll.shape[1] if mask is None else mask.sum(0).tolist()
        columns = nll.t().to("cpu", torch.float64).contiguous().numpy()
        for place, count, column in zip(window.places.tolist(), counts, columns, strict=True):
            if count:
                self._file.seek(place * column.itemsize)
                self._file.write(column[:count].tobytes())

    def pieces(self) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float64]]]:
        """Nats of every token in the order of the text, 1-D, piece by piece."""
        self._file.seek(0)
        while read := self._file.read(_PIECE):
            yield np.frombuffer(read)

    def nll(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The same as one array."""
        return np.concatenate([*self.pieces()])


def read_all(
    reader: Reader,
    windows: Iterable[Window],
    device: torch.device | str,
    keep: Tokenwise | None = None,
    processes: Processes = ALONE,
) -> float:
    """Nats of all tokens of the windows together, summed in float64; with `keep` each one is kept too.

    Of several processes each reads columns of its own, and all get the sum.
    """
    total = torch.zeros((), dtype=torch.float64, device=device)
    for window in _own_columns(windows, processes):
        nll = reader.read(window.batch.to(device), window.fresh)
        # The sum stays on the device: to ask for it here would wait for the device at every window.
        total = total + nll.sum(dtype=torch.float64)
        if keep is not None:
            keep.add(window, nll)
    return float(processes.sum(total))


def _own_columns(windows: Iterable[Window], processes: Processes) -> Iterator[Window]:
    """This process's columns of windows; where there are fewer columns than processes, some have none."""
    for window in windows:
        columns = processes.rows(window.batch.targets.shape[1])
        if columns.stop > columns.start:
            places = None if window.places is None else window.places[columns]
            yield replace(window, batch=window.batch.columns(columns), places=places)
