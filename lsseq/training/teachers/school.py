"""The teachers of a recipe: a level of them for each detector, the lowest reading tokens, those above the units of the
level below.

Shape letters: N tokens, D levels.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from lsseq.boundaries.baselines import peaks
from lsseq.boundaries.chunk import Bools, Floats, Ints
from lsseq.boundaries.reading import Tokens
from lsseq.data.batches import Marks
from lsseq.recipe import schema
from lsseq.training.progress import duration
from lsseq.training.teachers.lexicon import Lexicon
from lsseq.training.teachers.teacher import Teacher, View, train_teacher
from lsseq.training.teachers.units import Units


@dataclass(frozen=True)
class Plan:
    """What teachers are made of besides the text."""

    size: int
    """Of the vocabulary."""
    line_end: int | None
    """The token that ends a line, read before the first one; None where there is none."""
    settings: schema.Teachers
    watches_line_ends: bool
    """Their curve is the probability of an end of the line; else they have surprisal and entropy."""
    levels: int
    """D."""
    seed: int
    device: torch.device

    def size_of(self, units: Units | None) -> int:
        """Of the vocabulary of a level."""
        return self.size if units is None else units.size

    def end_of(self, units: Units | None) -> int | None:
        """What ends a line in what the teachers of a level read."""
        if units is None or self.line_end is None:
            return self.line_end
        number = int(units.read(np.array([self.line_end]), np.ones(1, np.bool_))[0][0])
        return number if number < len(units.names) else None

    def views(self, units: Units | None) -> list[View]:
        """How each teacher of a level reads."""
        end = self.end_of(units)
        watch = end if self.watches_line_ends else None
        pair = [View(backward, end, watch, self.device) for backward in (False, True)]
        return pair * self.settings.pairs

    def cuts(self, tokens: Tokens, marks: Bools) -> Bools:
        """(N,): where units end that are marked; a line's end is a unit of its own."""
        ends = tokens == (-1 if self.line_end is None else self.line_end)
        cuts: Bools = marks | ends
        cuts[:-1] |= ends[1:]
        return cuts


@dataclass(frozen=True)
class Level:
    """The teachers of one detector."""

    teachers: list[Teacher]
    units: Units | None
    """The vocabulary of what they read; None for the tokens of the text."""

    end: int | None
    """What ends a line in what they read."""
    watches: bool
    """They watch the ends of lines."""
    lexicon: Lexicon | None = None
    """What units there are; None where the curve alone marks them."""

    def marks(self, text: Ints) -> Bools:
        """For each token or unit, whether a larger unit ends after it."""
        return self.marks_of(text, self.curve(text))

    def curve(self, text: Ints) -> Floats:
        """The sum of all curves of a pair, the mean over the pairs."""
        total = np.zeros(len(text), np.float32)
        for teacher in self.teachers:
            teacher.add_to(total, text)
        total *= 2 / len(self.teachers)
        return total

    def marks_of(self, text: Ints, curve: Floats) -> Bools:
        """The peaks of the curve, above its mean where the ends of lines are watched; with a lexicon, what both say."""
        if self.lexicon is not None:
            return self.lexicon.divide(text, curve, self.end)
        marks = peaks(curve)
        if self.watches:
            marks[:-1] &= curve[1:] > 0
        return marks


@dataclass(frozen=True)
class School:
    """Trained teachers."""

    plan: Plan
    levels: list[Level]

    def marks(self, tokens: Tokens) -> Marks:
        """(N, D): a unit of the level ends after the token."""
        marks = np.zeros((len(tokens), len(self.levels)), np.bool_)
        for number, level in enumerate(self.levels):
            if level.units is None:
                marks[:, number] = level.marks(tokens)
            else:
                units, ends = level.units.read(tokens, self.plan.cuts(tokens, marks[:, number - 1]))
                marks[ends, number] = level.marks(units)
        return marks


def train_school(tokens: Tokens, plan: Plan) -> tuple[School, Marks]:
    """Train the teachers of all levels from the lowest up, and mark the text that they were trained on.

    Torch's generator is left as it was.
    """
    marks = np.zeros((len(tokens), plan.levels), np.bool_)
    levels: list[Level] = []
    with torch.random.fork_rng([plan.device] if plan.device.type == "cuda" else []):
        torch.manual_seed(plan.seed)
        for number in range(plan.levels):
            units, text, ends = None, tokens, cast(Ints, np.arange(len(tokens)))
            if number > 0:
                cuts = plan.cuts(tokens, marks[:, number - 1])
                units = Units.of(tokens, cuts)
                text, ends = units.read(tokens, cuts)
            teachers = []
            for view in plan.views(units):
                began = time.perf_counter()
                teachers.append(train_teacher(text, plan.size_of(units), plan.settings, view))
                print(
                    f"teacher {len(teachers)} of level {number + 1}: reads "
                    f"{'units' if units else 'tokens'} {'backward' if view.backward else 'forward'}, "
                    f"{plan.settings.steps} steps in {duration(time.perf_counter() - began)}",
                    file=sys.stderr,
                    flush=True,
                )
            level = Level(teachers, units, plan.end_of(units), plan.watches_line_ends)
            curve = level.curve(text)
            found = level.marks_of(text, curve)
            for _ in range(plan.settings.lexicon):
                level = replace(level, lexicon=Lexicon.of(text, found, level.end))
                found = level.marks_of(text, curve)
            levels.append(level)
            marks[ends, number] = found
    return School(plan, levels), marks
