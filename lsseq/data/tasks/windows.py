"""The training windows of a task: whole sequences, each read from the initial state."""

from __future__ import annotations

import numpy as np

from lsseq.data.batches import Window, require_below
from lsseq.data.tasks.examples import Examples, Numbers
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Training

POOL = 50
"""Batches among which sequences of different lengths are sorted, so that there is little padding."""


class ExampleWindows:
    """Each epoch reads the sequences in another order, B at a time; those that do not fill a batch are left out of it.

    Where they differ in length, sequences of about the same length are read together: each `POOL` batches in a row are
    sorted by length, and their order is drawn again.

    Raises:
        KeyFault: there are fewer sequences than a batch holds, or a key asks for windows of a text.
    """

    def __init__(self, examples: Examples, training: Training) -> None:
        for key, default in (("windows", "stream"), ("random_bptt", False)):
            if getattr(training, key) != default:
                raise KeyFault(f"training.{key}", f"`{key}` is for texts: a task's sequences are read whole")
        self.examples, self.batch, self.seed = examples, training.batch, training.seed
        self._lengths = examples.lengths("train")
        if len(self._lengths) < self.batch:
            message = f"{len(self._lengths)} training sequences are too few for a batch of {self.batch}"
            raise KeyFault("training.batch", message)
        self._differ = bool((self._lengths != self._lengths[0]).any())
        self.epoch = self.window = 0
        self._batches = self._shuffled(0)

    @property
    def windows_per_epoch(self) -> int:
        return len(self._lengths) // self.batch

    @property
    def tokens_per_epoch(self) -> int:
        """Steps of an epoch; the expected number where the lengths differ."""
        return round(self.windows_per_epoch * self.batch * float(self._lengths.mean()))

    def next(self) -> Window:
        batch = self.examples.batch("train", self._batches[self.window])
        last = self.window + 1 == self.windows_per_epoch
        window = Window(batch, fresh=True, epoch=self.epoch, ends_epoch=last)
        if last:
            self.seek({"epoch": self.epoch + 1, "window": 0})
        else:
            self.window += 1
        return window

    def _shuffled(self, epoch: int) -> list[Numbers]:
        draws = np.random.default_rng([self.seed, epoch])
        order = draws.permutation(len(self._lengths))
        if not self._differ:
            return self._cut(order)
        pools = range(0, len(order), POOL * self.batch)
        batches = [
            batch for start in pools for batch in self._cut(self._sorted(order[start : start + POOL * self.batch]))
        ]
        return [batches[number] for number in draws.permutation(len(batches))]

    def _sorted(self, numbers: Numbers) -> Numbers:
        return numbers[np.argsort(self._lengths[numbers], kind="stable")]

    def _cut(self, numbers: Numbers) -> list[Numbers]:
        return [numbers[start : start + self.batch] for start in range(0, len(numbers) - self.batch + 1, self.batch)]

    def position(self) -> dict[str, int]:
        return {"epoch": self.epoch, "window": self.window}

    def seek(self, position: dict[str, int]) -> None:
        require_below(self.windows_per_epoch, position["window"], position)
        if position["epoch"] != self.epoch:
            self._batches = self._shuffled(position["epoch"])
        self.epoch, self.window = position["epoch"], position["window"]
