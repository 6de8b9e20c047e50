"""The form `torch-export`: a program of PyTorch (`torch.export`) for sequences of any length.

Shape letters: T time, B batch, I channels, V vocabulary or answers.
"""

from __future__ import annotations

import importlib.util
import io
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lsseq.export.step import BATCH, Runner, Subject, Tensors, quiet, rows_of, tracing

NAME = "torch-export"
FILE = "model.pt2"


class Sequence(nn.Module):
    """A step repeated over T inputs by PyTorch's `scan`, the one loop that keeps T open in a graph."""

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.step = step

    def forward(self, inputs: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """(T, B) or (T, B, I), and the state, to logits (T, B, V) and the state after them."""
        from torch._higher_order_ops.scan import scan

        def body(carried: Tensors, x: Tensor) -> tuple[Tensors, Tensor]:
            logits, after = self.step(x, carried)
            # `scan` refuses a state that goes through as it is.
            return [tensor.clone() for tensor in after], logits

        after, logits = scan(body, state, inputs)
        return logits, after


def obstacle(subject: Subject) -> str | None:
    """Why a model cannot have this form, or None."""
    del subject
    if importlib.util.find_spec("torch._higher_order_ops.scan") is None:
        return f"PyTorch {torch.__version__} has no `scan`; 2.13 has it"
    return None


@lru_cache(maxsize=1)  # two forms are made of it
def program(subject: Subject) -> ExportedProgram:
    """The whole model for any T and B.

    Raises:
        RunError: PyTorch cannot export it.
    """
    inputs, state = subject.sample(5, 3, torch.Generator()), subject.initial_state(3)
    shapes = ({0: Dim("time"), 1: BATCH}, rows_of(state))
    module = Sequence(subject.step.module())
    with tracing(subject.name):
        return torch.export.export(module, (inputs, state), dynamic_shapes=shapes, strict=False)


def files(subject: Subject) -> dict[str, bytes]:
    """What is written."""
    buffer = io.BytesIO()
    with tracing(subject.name):
        torch.export.save(program(subject), buffer)
    return {FILE: buffer.getvalue()}


def runner(folder: Path, subject: Subject) -> Runner:
    """The model from what was written."""
    del subject
    with quiet():
        module: Runner = torch.export.load(folder / FILE).module()
    return module
