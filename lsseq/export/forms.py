"""The forms that there are, and the comparison of each with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from lsseq.errors import RunError
from lsseq.export import onnx, sequence, source, torch_nn
from lsseq.export.step import Runner, Subject

TOLERANCE = 1e-5
"""How far logits and states may be from the model's, relative to the largest of them where that is above 1."""


class Form(Protocol):
    """A module of this package that is a form."""

    NAME: str

    def obstacle(self, subject: Subject) -> str | None:
        """Why a model cannot have this form, or None."""

    def files(self, subject: Subject) -> dict[str, bytes]:
        """What is written, by name."""

    def runner(self, folder: Path, subject: Subject) -> Runner:
        """The model from what was written in a folder."""


FORMS: dict[str, Form] = {form.NAME: form for form in (source, sequence, onnx, torch_nn)}


@torch.no_grad()
def difference(subject: Subject, run: Runner) -> float:
    """The largest difference of logits and states from the model's, in units of the largest of them or of 1.

    Sequences of other lengths and batches than in the trace are read, one from the initial state, one on from there,
    and one of a single step.

    Raises:
        RunError: it is more than `TOLERANCE`.
    """
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for rows, lengths in ((4, (9, 2)), (1, (1,))):
        expected_state, state = None, subject.initial_state(rows)
        for steps in lengths:
            inputs = subject.sample(steps, rows, generator)
            expected, expected_state = subject.model.logits(inputs, expected_state)
            logits, state = run(inputs, state)
            for found, right in zip([logits, *state], [expected, *subject.flat(expected_state)], strict=True):
                distance = (found - right).abs().max() / max(1.0, float(right.abs().max()))
                worst = max(worst, float(distance))
    if not worst <= TOLERANCE:
        raise RunError(f"what was exported of {subject.name} differs from it by {worst:.1e}, more than {TOLERANCE:.0e}")
    return worst
