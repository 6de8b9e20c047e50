"""Training windows of whole sequences."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.data.batches import Batch
from lsseq.data.tasks import Examples, ExampleWindows, Form
from lsseq.data.tasks.examples import at_the_end
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Training


class Counted(Examples):
    """The n-th sequence repeats n as often as it is long."""

    form = Form(1000, symbols=True, classes=("a",))
    fingerprint = source = ""
    splits = ("train",)

    def __init__(self, lengths: list[int]) -> None:
        self._lengths = np.array(lengths)

    def lengths(self, split):
        return self._lengths

    def batch(self, split, numbers):
        lengths = self._lengths[numbers]
        inputs = torch.from_numpy(numbers).expand(int(lengths.max()), -1)
        return Batch(inputs, *at_the_end(np.zeros(len(numbers), np.int64), lengths))

    def chance(self, split):
        raise AssertionError("training asks for no chance level")


def windows(lengths: list[int], **keys) -> ExampleWindows:
    return ExampleWindows(Counted(lengths), Training(**{"batch": 3, "steps": 1, **keys}))


def epoch(made: ExampleWindows) -> list[list[int]]:
    return [made.next().batch.inputs[0].tolist() for _ in range(made.windows_per_epoch)]


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 5), min_size=3, max_size=400), seed=st.integers(0, 99))
def test_an_epoch_reads_each_sequence_at_most_once_and_leaves_out_less_than_a_batch(lengths, seed):
    made = windows(lengths, seed=seed)
    seen = Counter(number for batch in epoch(made) for number in batch)
    assert set(seen.values()) == {1}
    assert len(lengths) - len(seen) == len(lengths) % 3
    assert made.epoch == 1


def test_epochs_differ_and_seeds_do():
    made = windows([4] * 30)
    first, second = epoch(made), epoch(made)
    assert first != second
    assert first != epoch(windows([4] * 30, seed=2))
    assert first == epoch(windows([4] * 30))


def test_every_window_is_fresh_and_the_last_ends_the_epoch():
    made = windows([2] * 7)
    read = [made.next() for _ in range(4)]
    assert [window.ends_epoch for window in read] == [False, True, False, True]
    assert [window.epoch for window in read] == [0, 0, 1, 1]
    assert all(window.fresh for window in read)
    assert made.tokens_per_epoch == sum(window.batch.steps for window in read[:2]) == 12


def test_sequences_of_one_length_are_read_together():
    draws = np.random.default_rng(0)
    lengths = draws.integers(1, 200, 3000).tolist()
    padded = steps = 0
    made = windows(lengths, batch=20)
    for _ in range(made.windows_per_epoch):
        batch = made.next().batch
        padded, steps = padded + batch.inputs.numel(), steps + batch.steps
    assert steps == sum(lengths)
    assert padded < 1.05 * steps
    assert made.tokens_per_epoch == steps


@settings(max_examples=20, deadline=None)
@given(before=st.integers(0, 25), varied=st.booleans())
def test_a_position_is_all_that_a_resumed_run_needs(before, varied):
    lengths = [number % 4 + 1 if varied else 3 for number in range(31)]
    made, again = windows(lengths), windows(lengths)
    for _ in range(before):
        made.next()
    again.seek(json.loads(json.dumps(made.position())))
    for _ in range(15):
        assert made.next().batch.inputs[0].tolist() == again.next().batch.inputs[0].tolist()


@pytest.mark.parametrize("window", [-1, 10])
def test_no_window_begins_elsewhere(window):
    made = windows([3] * 31)
    assert made.windows_per_epoch == 10
    with pytest.raises(ValueError, match="no window begins at"):
        made.seek({"epoch": 1, "window": window})
    assert made.position() == {"epoch": 0, "window": 0}


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"batch": 9}, "training.batch", "8 training sequences are too few for a batch of 9"),
        ({"windows": "pieces"}, "training.windows", "`windows` is for texts: a task's sequences are read whole"),
        (
            {"random_bptt": True},
            "training.random_bptt",
            "`random_bptt` is for texts: a task's sequences are read whole",
        ),
    ],
)
def test_what_does_not_fit(keys, key, message):
    with pytest.raises(KeyFault) as caught:
        windows([3] * 8, **keys)
    assert (caught.value.key, caught.value.message) == (key, message)


def test_steps_count_no_padding():
    batch = Counted([2, 5, 3]).batch("train", np.arange(3))
    assert (batch.tokens, batch.steps, batch.inputs.numel()) == (3, 10, 15)
