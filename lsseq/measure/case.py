"""What is measured: a layer of `lsseq.nn` with options, at one shape, on one device.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.errors import RequestError
from lsseq.nn.recurrent import Recurrent

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


@dataclass(frozen=True)
class Shape:
    """Sizes of a layer and of its input."""

    input: int
    hidden: int
    batch: int
    steps: int
    layers: int = 1


@dataclass(frozen=True)
class Case:
    """A layer of `lsseq.nn` at one shape."""

    cell: str
    """LSTM, GRU or RNN."""
    options: Mapping[str, Any]
    """The options of the layer that `torch.nn` has not, but `backend`."""
    shape: Shape
    backend: str = "auto"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32

    @property
    def name(self) -> str:
        """Cell and options, as a user writes them."""
        return f"{self.cell}({', '.join(f'{name}={value!r}' for name, value in self.options.items())})"

    def ours(self) -> Recurrent:
        """The layer.

        Raises:
            RequestError: it has no such option, or the back end cannot serve it.
        """
        cls = getattr(lnn, self.cell)
        unknown = [name for name in self.options if name not in inspect.signature(cls).parameters]
        if unknown:
            raise RequestError(f"{self.cell} has no option `{unknown[0]}`")
        try:
            layer: Recurrent = cls(*self._sizes, **self._format, **self.options, backend=self.backend)
        except ValueError as error:
            raise RequestError(f"{self.cell}: {error}") from error
        return layer

    def theirs(self) -> nn.RNNBase:
        """The namesake in `torch.nn`, which has no options."""
        layer: nn.RNNBase = getattr(nn, self.cell)(*self._sizes, **self._format)
        return layer

    def sequence(self) -> Tensor:
        """An input (T, B, I) that wants a gradient, as the output of an embedding does."""
        shape = self.shape
        return torch.randn(shape.steps, shape.batch, shape.input, **self._format, requires_grad=True)

    def states(self) -> tuple[Tensor, ...]:
        """Initial states (layers, B, H) that want gradients: h, and c of an LSTM."""
        size = (self.shape.layers, self.shape.batch, self.shape.hidden)
        return tuple(torch.randn(size, **self._format, requires_grad=True) for _ in range(_STATES[self.cell]))

    @property
    def products(self) -> int:
        """Floating point operations of the forward pass's matrix products; a training step has three times as many.

        2 T B · G H · (I + H) for the first layer, with H in the place of I for the others. With a rank r, factor by
        factor: G H · (I + 2 r), or H · (G I + (1 + G) r) where the gates share a factor.
        """
        shape, gates, rank = self.shape, _GATES[self.cell], self.options.get("rank")
        inputs = gates * (shape.input + (shape.layers - 1) * shape.hidden)
        sources = 1 if self.options.get("tied_rank") else gates
        states = gates * shape.hidden if rank is None else (sources + gates) * rank
        return 2 * shape.steps * shape.batch * shape.hidden * (inputs + shape.layers * states)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return self.shape.input, self.shape.hidden, self.shape.layers

    @property
    def _format(self) -> dict[str, Any]:
        return {"device": self.device, "dtype": self.dtype}
