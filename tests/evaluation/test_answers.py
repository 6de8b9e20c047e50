"""Measuring the answers of a model, one sequence after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lsseq.data.batches import Batch
from lsseq.data.tasks import Examples, Form
from lsseq.data.tasks.examples import at_the_end
from lsseq.data.tasks.generated import BLANK, DATA, Adding, Copy
from lsseq.errors import RequestError
from lsseq.evaluation.answers import evaluate_examples, measure_examples
from lsseq.model.base import Output, Score, SequenceModel
from lsseq.model.factory import build_answering
from lsseq.recipe.schema import Model, Task


class Oracle(SequenceModel):
    """Answers blanks where they are due, and one symbol for all others, each with the probability p."""

    def __init__(self, symbol: int, p: float = 0.9) -> None:
        super().__init__()
        self.symbol, self.p = symbol, p

    def forward(self, batch: Batch, state: object = None) -> Output:
        raise AssertionError("an evaluation does not train")

    def score(self, batch: Batch, state: object = None) -> Score:
        assert state is None
        assert not self.training
        said = torch.where(batch.targets == BLANK, BLANK, self.symbol)
        right = said == batch.targets
        return Score(torch.where(right, -math.log(self.p), -math.log(1 - self.p)), None, {}, right)


def test_accuracy_of_copy_is_that_of_the_recalled_symbols() -> None:
    copy = Copy(Task(kind="copy", delay=6, vary="symbols"))
    values = measure_examples(Oracle(3), copy, "valid", device="cpu")
    targets = copy.batch("valid", np.arange(1000)).targets
    recalled = int((targets != BLANK).sum())
    right = int((targets == 3).sum())
    assert values["accuracy"] == right / recalled
    assert values["accuracy"] == pytest.approx(1 / DATA, rel=0.1)
    assert (values["answers"], values["sequences"], values["tokens"]) == (recalled, 1000, 26 * 1000)
    wrong = recalled - right
    expected = -(wrong * math.log(0.1) + (26_000 - wrong) * math.log(0.9)) / 26_000
    assert values["nll"] == pytest.approx(expected, rel=1e-6)


class Texts(Examples):
    """Sequences of different lengths."""

    form = Form(9, symbols=True, classes=("a", "b", "c"))
    fingerprint = source = ""
    splits = ("train", "valid")

    def __init__(self) -> None:
        draws = np.random.default_rng(0)
        self._lengths = draws.integers(1, 12, 230)
        self._symbols = draws.integers(9, size=(230, 12))
        self._classes = draws.integers(3, size=230)

    def lengths(self, split):
        return self._lengths

    def batch(self, split, numbers):
        lengths = self._lengths[numbers]
        inputs = self._symbols[numbers, : lengths.max()].T
        inputs = np.where(np.arange(len(inputs))[:, None] < lengths, inputs, -1)
        return Batch(torch.from_numpy(inputs), *at_the_end(self._classes[numbers], lengths))

    def chance(self, split):
        return {"nll": math.log(3), "accuracy": 1 / 3}


@pytest.mark.parametrize(
    ("examples", "names"),
    [
        (Texts(), {"nll", "accuracy"}),
        (Adding(Task(kind="adding", length=9)), {"mse"}),
        (Copy(Task(kind="copy", delay=3)), {"nll", "accuracy"}),
    ],
)  # fmt: skip
def test_figures_are_means_over_sequences_read_alone(examples: Examples, names: set[str]) -> None:
    torch.manual_seed(0)
    model = build_answering(Model(hidden=5, embedding=4), examples.form).double()
    values = measure_examples(model, examples, "valid", device="cpu")
    errors, right, asked = [], 0, 0
    with torch.no_grad():
        for number in range(len(examples.lengths("valid"))):
            batch = examples.batch("valid", np.array([number]))
            score = model.score(batch)
            mask = torch.ones_like(score.nll, dtype=torch.bool) if batch.mask is None else batch.mask
            errors += score.nll[mask].tolist()
            counted = mask & (batch.targets != examples.form.ignored) if examples.form.ignored is not None else mask
            asked += int(counted.sum())
            right += 0 if score.correct is None else int(score.correct[counted].sum())
    assert values.keys() == {*names, "sequences", "tokens", "answers"}
    assert values[model.objective] == pytest.approx(np.mean(errors), rel=1e-9)
    assert values["answers"] == asked
    assert values["tokens"] == examples.lengths("valid").sum()
    if "accuracy" in names:
        assert values["accuracy"] == right / asked


def test_chance_and_solution_stand_beside() -> None:
    copy = Copy(Task(kind="copy", delay=3))
    model = build_answering(Model(hidden=5, embedding=4), copy.form)
    values = evaluate_examples(model, copy, "valid")
    assert values["chance"] == {"nll": 10 * math.log(8) / 23, "accuracy": 1 / 8}
    assert values["solution"] == {"nll": 0.0, "accuracy": 1.0}
    assert (values["split"], values["mode"]) == ("valid", "deterministic")
    # An LSTM of 4 gates that read 4 + 5 numbers, and 10 classes; h and c.
    assert values["flops_per_token"] == 2 * (4 * 5 * (4 + 5) + 10 * 5)
    assert values["state_size"] == 10
    assert values["parameters"] == 10 * 4 + 4 * 5 * (4 + 5 + 2) + 10 * (5 + 1)
    assert Adding(Task(kind="adding")).form.solution == {"mse": 0.0}
    with pytest.raises(RequestError, match="the task has no split `dev`; it has train, valid, test"):
        evaluate_examples(model, copy, "dev")
