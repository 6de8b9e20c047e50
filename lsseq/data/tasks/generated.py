"""Sequences that are made and not read: the n-th of a split is a function of the seed, the split and n."""

from __future__ import annotations

import math

import numpy as np
import torch

from lsseq.data.batches import Batch
from lsseq.data.tasks.examples import Examples, Form, Numbers, at_the_end, sum_of
from lsseq.recipe.schema import Task

VALID, TEST = 1_000, 10_000
"""Sequences of these splits; the test's number is the literature's."""

DATA = 8
"""Symbols that are to be remembered."""
BLANK, RUN = DATA, DATA + 1
"""The symbol that says nothing, and the one that says: recall now."""
SYMBOLS = 10
"""How many are to be remembered, where the number is not drawn."""


class Generated(Examples):
    """Sequences that all have one length."""

    steps: int
    """T."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._counts = {"train": task.examples, "valid": VALID, "test": TEST}
        self.fingerprint = sum_of(task.model_dump())
        self.source = f"generated sequences (data.task `{task.kind}`)"

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._counts)

    def lengths(self, split: str) -> Numbers:
        return np.full(self._counts[split], self.steps, np.int64)

    def _draws(self, split: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.task.seed, self.splits.index(split), number])


class Copy(Generated):
    """The copy memory task (Hochreiter & Schmidhuber 1997; as in Arjovsky et al. 2016).

    A sequence of N + 20 steps: K = 10 symbols out of 8, D - 1 = N - 1 blanks, a sign to recall, and blanks. The answers
    are blanks, and from the step after the sign on the K symbols in order. With `vary: symbols` K is drawn from 1 to 10
    for each sequence (as Danihelka et al. 2016), with `vary: delay` D from 1 to N (as Henaff et al. 2016); blanks
    fill up the rest, as in the code of Miceli Barone 2016.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.steps = task.delay + 2 * SYMBOLS
        names = (*(f"a{number}" for number in range(DATA)), "blank", "run")
        self.form = Form(len(names), symbols=True, classes=names, ignored=BLANK)

    def batch(self, split: str, numbers: Numbers) -> Batch:
        inputs, targets = (np.full((self.steps, len(numbers)), BLANK, np.int64) for _ in range(2))
        for column, number in enumerate(numbers):
            draws = self._draws(split, int(number))
            K = int(draws.integers(1, SYMBOLS + 1)) if self.task.vary == "symbols" else SYMBOLS
            D = int(draws.integers(1, self.task.delay + 1)) if self.task.vary == "delay" else self.task.delay
            symbols = draws.integers(DATA, size=K)
            inputs[:K, column] = symbols
            inputs[K + D - 1, column] = RUN
            targets[K + D : K + D + K, column] = symbols
        return Batch(torch.from_numpy(inputs), torch.from_numpy(targets))

    def chance(self, split: str) -> dict[str, float]:
        """Who knows when to recall and not what: K ln 8 / (N + 20) nats a step, and 1/8 of the symbols are right."""
        del split
        K = (1 + SYMBOLS) / 2 if self.task.vary == "symbols" else SYMBOLS
        return {"nll": K * math.log(DATA) / self.steps, "accuracy": 1 / DATA}


class Adding(Generated):
    """The adding task (Hochreiter & Schmidhuber 1997; as in Arjovsky et al. 2016).

    A sequence of T steps of two numbers: the first uniform in [0, 1), the second 1 at one step of the first half and at
    one of the second half, else 0. The answer after the last step is the sum of the two numbers that are marked.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.steps = task.length
        self.form = Form(2, symbols=False, classes=None)

    def batch(self, split: str, numbers: Numbers) -> Batch:
        T, half = self.steps, self.steps // 2
        inputs = np.zeros((T, len(numbers), 2), np.float32)
        sums = np.empty(len(numbers), np.float32)
        for column, number in enumerate(numbers):
            draws = self._draws(split, int(number))
            inputs[:, column, 0] = draws.random(T, np.float32)
            marked = [draws.integers(half), half + draws.integers(T - half)]
            inputs[marked, column, 1] = 1.0
            sums[column] = inputs[marked, column, 0].sum()
        return Batch(torch.from_numpy(inputs), *at_the_end(sums, self.lengths(split)[numbers]))

    def chance(self, split: str) -> dict[str, float]:
        """Always 1, the mean: 1/6 is the variance of the sum of two uniform numbers."""
        del split
        return {"mse": 1 / 6}
