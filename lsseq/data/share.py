"""One process's share of training windows: its columns of every batch.

Shape letters: T time, B batch.
"""

from __future__ import annotations

from dataclasses import replace

from lsseq.data.batches import TrainingWindows, Window


class Share:
    """The windows with fewer columns. Their lengths, order and positions stay those of the whole batches, whoever reads
    which columns.

    Args:
        windows: of the whole batches.
        columns: which are read.
    """

    def __init__(self, windows: TrainingWindows, columns: slice) -> None:
        self._windows, self._columns = windows, columns

    @property
    def windows_per_epoch(self) -> int:
        return self._windows.windows_per_epoch

    @property
    def tokens_per_epoch(self) -> int:
        """Of the whole batches."""
        return self._windows.tokens_per_epoch

    def next(self) -> Window:
        window = self._windows.next()
        return replace(window, batch=window.batch.columns(self._columns), whole=window.batch)

    def position(self) -> dict[str, int]:
        return self._windows.position()

    def seek(self, position: dict[str, int]) -> None:
        self._windows.seek(position)
