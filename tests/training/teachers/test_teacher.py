"""One teacher: whatever the direction in which it reads, its curve shows a boundary at the token behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lexicon import SIZE, SMALL, text, view

from lsseq.boundaries.baselines import peaks
from lsseq.training.teachers.teacher import Teacher, train_teacher


@pytest.fixture(scope="module", params=[False, True], ids=["forward", "backward"])
def teacher(request: pytest.FixtureRequest) -> Teacher:
    torch.manual_seed(1)
    return train_teacher(text(2000)[0], SIZE, SMALL, view(backward=request.param))


def curve(teacher: Teacher, tokens: np.ndarray) -> np.ndarray:
    total = np.zeros(len(tokens), np.float32)
    teacher.add_to(total, tokens)
    return total


@pytest.mark.parametrize("words", [300, 2000])
def test_the_peaks_are_the_ends_of_the_words(teacher: Teacher, words: int) -> None:
    """In texts that are read in one stream, and in several with a warm-up."""
    tokens, ends = text(words, seed=5)
    found = peaks(curve(teacher, tokens))
    # Neither the first token nor the last has two neighbours.
    assert (found[4:-4] == ends[4:-4]).all()


def test_what_is_standardised_on_the_training_text(teacher: Teacher) -> None:
    tokens, _ = text(2000)
    total = curve(teacher, tokens)[1:]
    assert total.mean() == pytest.approx(0, abs=0.01)
    # Surprisal and entropy of deviation 1 each, and far from independent.
    assert 1.4 < total.std() < 2.0
    assert len(teacher.scales) == 2


def test_backward_says_nothing_of_the_first_place() -> None:
    torch.manual_seed(1)
    tokens, _ = text(50)
    total = curve(train_teacher(tokens, SIZE, SMALL.model_copy(update={"steps": 1}), view(backward=True)), tokens)
    assert total[0] == 0
    assert (total[1:] != 0).all()


@pytest.mark.parametrize("backward", [False, True])
def test_a_watched_token_gives_one_curve(backward: bool) -> None:
    """The token 0 only follows ends of words, and going backward the token 1 only stands before beginnings."""
    torch.manual_seed(1)
    tokens, ends = text(2000)
    teacher = train_teacher(tokens, SIZE, SMALL, view(backward=backward, watch=1 if backward else 0))
    assert len(teacher.scales) == 1
    assert (peaks(curve(teacher, tokens))[4:-4] == ends[4:-4]).all()
