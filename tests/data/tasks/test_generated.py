"""Copy and adding against their definitions, and their chance levels against trials."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.data.tasks.generated import BLANK, DATA, RUN, Adding, Copy
from lsseq.recipe.schema import Task

SPLITS = st.sampled_from(["train", "valid", "test"])


def columns(copy: Copy, split: str, numbers: list[int]):
    batch = copy.batch(split, np.array(numbers))
    assert batch.mask is None
    return zip(batch.inputs.t().tolist(), batch.targets.t().tolist(), strict=True)


def check_copy(inputs: list[int], targets: list[int], delay: int) -> tuple[int, int]:
    """K and D of a sequence; it is what the definition says of them."""
    K = next(step for step, symbol in enumerate(inputs) if symbol >= DATA)
    run = inputs.index(RUN)
    D = run - K + 1
    symbols = inputs[:K]
    assert len(inputs) == len(targets) == delay + 20
    assert all(0 <= symbol < DATA for symbol in symbols)
    assert inputs == [*symbols, *[BLANK] * (D - 1), RUN, *[BLANK] * (delay + 20 - K - D)]
    assert targets == [*[BLANK] * (K + D), *symbols, *[BLANK] * (delay + 20 - 2 * K - D)]
    return K, D


@settings(max_examples=30, deadline=None)
@given(delay=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), split=SPLITS, number=st.integers(0, 999))
def test_copy(delay, seed, split, number):
    ((inputs, targets),) = columns(Copy(Task(kind="copy", delay=delay, seed=seed)), split, [number])
    assert check_copy(inputs, targets, delay) == (10, delay)


@pytest.mark.parametrize(("vary", "Ks", "Ds"), [("symbols", range(1, 11), {7}), ("delay", {10}, range(1, 8))])
def test_what_varies_takes_every_value(vary, Ks, Ds):
    copy = Copy(Task(kind="copy", delay=7, vary=vary))
    found = [check_copy(*column, 7) for column in columns(copy, "train", list(range(300)))]
    assert {K for K, _ in found} == set(Ks)
    assert {D for _, D in found} == set(Ds)


@pytest.mark.parametrize("vary", ["none", "symbols", "delay"])
def test_chance_of_copy_is_that_of_who_knows_only_when(vary):
    """Its nats are the entropy of the symbols, counted one by one."""
    copy = Copy(Task(kind="copy", delay=12, vary=vary))
    targets = copy.batch("test", np.arange(4000)).targets
    recalled = int((targets != BLANK).sum())
    chance = copy.chance("test")
    assert chance["nll"] == pytest.approx(recalled * math.log(8) / targets.numel(), rel=0.02)
    counts = torch.bincount(targets[targets != BLANK], minlength=DATA)
    assert chance["accuracy"] == pytest.approx(float(counts.max()) / recalled, rel=0.05)


def test_chance_of_copy_at_the_papers_length():
    chance = Copy(Task(kind="copy", delay=500)).chance("test")
    assert chance == {"nll": pytest.approx(10 * math.log(8) / 520), "accuracy": 0.125}


@settings(max_examples=30, deadline=None)
@given(length=st.integers(2, 60), seed=st.integers(0, 2**32 - 1), split=SPLITS, number=st.integers(0, 999))
def test_adding(length, seed, split, number):
    batch = Adding(Task(kind="adding", length=length, seed=seed)).batch(split, np.array([number]))
    values, marks = batch.inputs[:, 0].unbind(1)
    assert bool(((values >= 0) & (values < 1)).all())
    first, second = marks.nonzero().flatten().tolist()
    assert first < length // 2 <= second
    assert marks.sum() == 2
    assert batch.mask is not None
    assert batch.mask.flatten().tolist() == [False] * (length - 1) + [True]
    assert batch.targets[-1, 0] == values[first] + values[second]


def test_chance_of_adding_is_the_error_of_the_mean():
    adding = Adding(Task(kind="adding", length=10))
    sums = adding.batch("test", np.arange(8000)).targets[-1]
    assert adding.chance("test")["mse"] == pytest.approx(float((sums - 1).square().mean()), rel=0.05)


@pytest.mark.parametrize("make", [Copy, Adding])
def test_a_sequence_depends_on_seed_split_and_number_alone(make):
    def inputs(split: str, numbers: list[int], seed: int = 1) -> torch.Tensor:
        kind = "copy" if make is Copy else "adding"
        return make(Task(kind=kind, seed=seed)).batch(split, np.array(numbers)).inputs

    both = inputs("train", [5, 3])
    assert torch.equal(both[:, 1], inputs("train", [3])[:, 0])
    assert not torch.equal(both[:, 0], both[:, 1])
    assert not torch.equal(both, inputs("valid", [5, 3]))
    assert not torch.equal(both, inputs("train", [5, 3], seed=2))


def test_fingerprints_are_those_of_the_settings():
    def print_of(**keys) -> str:
        return Copy(Task(kind="copy", **keys)).fingerprint

    assert print_of() == print_of(seed=1)
    assert len({print_of(), print_of(seed=2), print_of(delay=5), print_of(vary="delay"), print_of(examples=9)}) == 5


def test_sizes():
    copy = Copy(Task(kind="copy", delay=500))
    assert {split: len(copy.lengths(split)) for split in copy.splits} == {
        "train": 100_000,
        "valid": 1000,
        "test": 10_000,
    }
    assert set(copy.lengths("valid")) == {520}
