"""Teachers of several levels."""

from __future__ import annotations

import numpy as np
import torch
from lexicon import plan, text

from lsseq.training.teachers.school import train_school
from lsseq.training.teachers.units import Units

PHRASES = ([0, 1, 2], [3, 4, 5])
"""Of words, each of two letters of its own."""


def phrases(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, where words end, and where phrases end; now and then a word stands alone, so that no word is sure to
    follow another."""
    draw = np.random.default_rng(seed)
    chosen = [PHRASES[draw.integers(2)] if draw.random() < 0.8 else [int(draw.integers(6))] for _ in range(count)]
    words = np.concatenate(chosen)
    tokens = np.stack([2 * words, 2 * words + 1], axis=1).flatten().astype(np.uint8)
    ends = np.zeros(len(tokens), np.bool_)
    ends[2 * np.cumsum([len(phrase) for phrase in chosen]) - 1] = True
    return tokens, tokens % 2 == 1, ends


def test_it_is_a_function_of_its_seed_and_leaves_the_generator_alone() -> None:
    tokens, _ = text(300)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, marks = train_school(tokens, plan())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    two, again = train_school(tokens, plan())
    assert (marks == again).all()
    for a, b in zip(one.levels[0].teachers, two.levels[0].teachers, strict=True):
        assert a.scales == b.scales
        assert all(torch.equal(x, y) for x, y in zip(a.model.parameters(), b.model.parameters(), strict=True))
    three, _ = train_school(tokens, plan(seed=2))
    assert three.levels[0].teachers[0].scales != one.levels[0].teachers[0].scales


def test_pairs_of_teachers_differ() -> None:
    tokens, ends = text(300)
    settings = plan().settings.model_copy(update={"pairs": 2})
    school, marks = train_school(tokens, plan(settings=settings))
    teachers = school.levels[0].teachers
    assert [teacher.view.backward for teacher in teachers] == [False, True, False, True]
    assert teachers[0].scales != teachers[2].scales
    assert (marks[4:-4, 0] == ends[4:-4]).all()


def test_the_second_level_finds_phrases() -> None:
    tokens, _, _ = phrases(1500)
    settings = plan().settings.model_copy(update={"steps": 300})
    school, marks = train_school(tokens, plan(levels=2, size=12, settings=settings))
    assert (school.marks(tokens) == marks).all()
    tokens, words, ends = phrases(300, seed=9)
    marks = school.marks(tokens)
    assert marks.shape == (len(tokens), 2)
    assert f1(marks[:, 0], words) > 0.85
    assert f1(marks[:, 1], ends) > 0.85
    # A mark stands at the last token of a unit.
    assert not (marks[:, 1] & ~marks[:, 0]).any()
    assert school.levels[1].units is not None
    assert len(school.levels[1].units.names) >= 6


def f1(found: np.ndarray, gold: np.ndarray) -> float:
    return float(2 * (found & gold).sum() / (found.sum() + gold.sum()))


def test_the_end_of_a_line_is_a_unit_where_it_is_not_rare() -> None:
    tokens = np.array([0, 1, 7, 0, 1, 7])
    cuts = plan(line_end=7).cuts(tokens, np.zeros(6, np.bool_))
    units = Units.of(tokens, cuts)
    numbers, _ = units.read(tokens, cuts)
    assert plan(line_end=7).end_of(units) == numbers[1]
    assert plan(line_end=7).end_of(Units.of(tokens[:3], cuts[:3])) is None
    assert plan(line_end=7).end_of(None) == 7


def test_lines_end_words_whatever_the_marks_say() -> None:
    cuts = plan(line_end=7).cuts(np.array([0, 1, 7, 2, 3, 7]), np.array([1, 0, 0, 0, 0, 0], np.bool_))
    assert cuts.tolist() == [True, True, True, False, True, True]
