"""One step of a model as a graph of PyTorch operations, which everything that is exported is made of.

Shape letters: T time, B batch, I channels, V vocabulary or answers.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lsseq.errors import RunError
from lsseq.model.embedding import TokenInput
from lsseq.model.recurrent import RecurrentModel
from lsseq.nn.explain import use_reference
from lsseq.nn.state import State, flatten_state, map_state, unflatten_state

Tensors = list[Tensor]
Runner = Callable[[Tensor, Tensors], tuple[Tensor, Tensors]]
"""(inputs (T, B) or (T, B, I), state) -> (logits (T, B, V), state after them)."""

BATCH = Dim("batch")


class Step(nn.Module):
    """A model's step with a list of tensors as its state.

    Args:
        model: in evaluation mode.
        names: of the tensors of its state (`lsseq.nn.state.flatten_state`).
    """

    def __init__(self, model: RecurrentModel, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, inputs: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        """(B,) or (B, I), and the state, to logits (B, V) and the state after them."""
        before = unflatten_state(dict(zip(self.names, state, strict=True)))
        logits, after = self.model.logits(inputs.unsqueeze(0), before)
        return logits.squeeze(0), Subject.flat(after)


@dataclass(frozen=True)
class Subject:
    """A model that is to be exported."""

    model: RecurrentModel
    """In evaluation mode, on the CPU, computed by the reference back end."""
    name: str
    """What messages call it."""

    @classmethod
    def of(cls, model: RecurrentModel, name: str) -> Subject:
        """A copy of a model, so that nothing is changed."""
        own = copy.deepcopy(model).cpu().eval().requires_grad_(False)
        use_reference(own)
        return cls(own, name)

    @property
    def reads_tokens(self) -> bool:
        """Whether the input is tokens (T, B), or numbers (T, B, I)."""
        return isinstance(self.model.embedding, TokenInput)

    @property
    def highest(self) -> int:
        """The tokens that may be read are those from -1, which stands for none, to this one."""
        assert isinstance(self.model.embedding, TokenInput)
        return self.model.embedding.vocabulary_size - 1

    def sample(self, steps: int, rows: int, generator: torch.Generator) -> Tensor:
        """Inputs drawn at random, (T, B) or (T, B, I)."""
        if self.reads_tokens:
            return torch.randint(-1, self.highest + 1, (steps, rows), generator=generator)
        return torch.randn(steps, rows, self.model.embedding.output_size, generator=generator)

    @cached_property
    def outputs(self) -> int:
        """V."""
        logits, _ = self.model.logits(self.sample(1, 1, torch.Generator()))
        return logits.shape[-1]

    @cached_property
    def initial(self) -> dict[str, Tensor]:
        """The state before the first step of one stream, by the names of its tensors."""
        like = next(self.model.parameters()).new_zeros(1, 1, self.model.embedding.output_size)
        zero: State = self.model.recurrence.zero_state(like)
        if zero is None:
            _, after, _ = self.model.recurrence(like)
            zero = map_state(torch.zeros_like, after)
        learned = self.model.initial_state
        return flatten_state(zero if learned is None else learned(zero))

    def initial_state(self, rows: int) -> Tensors:
        """The same of so many streams."""
        return [spread(tensor, rows) for tensor in self.initial.values()]

    @staticmethod
    def flat(state: State) -> Tensors:
        """The tensors of a state, in the order of `initial`."""
        return list(flatten_state(state).values())

    @cached_property
    def step(self) -> ExportedProgram:
        """The graph of `Step` for any number of rows.

        Raises:
            RunError: PyTorch cannot trace the model.
        """
        inputs, state = self.sample(1, 3, torch.Generator())[0], self.initial_state(3)
        module = Step(self.model, list(self.initial))
        with tracing(self.name):
            return torch.export.export(
                module, (inputs, state), dynamic_shapes=({0: BATCH}, rows_of(state)), strict=False
            )


def rows_of(state: Tensors) -> list[dict[int, Dim]]:
    """Where the tensors of a state have their rows, as the exporter wants it said."""
    return [{tensor.dim() - 2: BATCH} for tensor in state]


def spread(tensor: Tensor, rows: int) -> Tensor:
    """The state (…, 1, H) of one stream as that of several."""
    return tensor.expand(*tensor.shape[:-2], rows, tensor.shape[-1]).contiguous()


@contextmanager
def tracing(name: str) -> Iterator[None]:
    """Turns what PyTorch says of a model that it cannot export into one line."""
    try:
        with quiet():
            yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RunError(
            f"PyTorch {torch.__version__} cannot export {name}: {reason}",
            hint="`lsseq.load` runs it in Python; a recurrence is exported where its step has no control flow that "
            "depends on values",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters say of themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
