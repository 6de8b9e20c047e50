"""What is measured: a layer of `lsseq.nn` with options, at one shape, on one device.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.errors import RequestError
from lsseq.measure.forced import ForcedHMLSTM
from lsseq.nn.recurrent import Recurrent

Layer = Recurrent | ForcedHMLSTM

_LAYERS: dict[str, Callable[..., Layer]] = {"LSTM": lnn.LSTM, "GRU": lnn.GRU, "RNN": lnn.RNN, "HMLSTM": ForcedHMLSTM}
_NAMESAKES: dict[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN, "HMLSTM": nn.LSTM}


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
    """LSTM, GRU, RNN or HMLSTM, whose boundaries are forced."""
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

    def ours(self) -> Layer:
        """The layer.

        Raises:
            RequestError: it has no such option, or the back end cannot serve it.
        """
        cls = _LAYERS[self.cell]
        unknown = [name for name in self.options if name not in inspect.signature(cls).parameters]
        if unknown:
            raise RequestError(f"{self.cell} has no option `{unknown[0]}`")
        try:
            return cls(*self._sizes, **self._format, **self.options, backend=self.backend)
        except ValueError as error:
            raise RequestError(f"{self.cell}: {error}") from error

    def theirs(self) -> nn.RNNBase:
        """The namesake in `torch.nn`, which has no options; of an HM-LSTM, an LSTM of as many layers."""
        return _NAMESAKES[self.cell](*self._sizes, **self._format)

    def sequence(self) -> Tensor:
        """An input (T, B, I) that wants a gradient, as the output of an embedding does."""
        shape = self.shape
        return torch.randn(shape.steps, shape.batch, shape.input, **self._format, requires_grad=True)

    def states(self) -> dict[str, Tensor]:
        """Initial states (layers, B, H) by name: h_0, and c_0 of an LSTM; of an HM-LSTM (B, H) for each layer."""
        names = ["h_0", "c_0"] if self.cell in ("LSTM", "HMLSTM") else ["h_0"]
        size: tuple[int, ...] = (self.shape.layers, self.shape.batch, self.shape.hidden)
        if self.cell == "HMLSTM":
            names, size = [f"{name} of layer {k}" for name in names for k in range(size[0])], size[1:]
        return {name: torch.randn(size, **self._format) for name in names}

    @property
    def products(self) -> int:
        """Floating point operations of the forward pass's products; a training step has three times as many.

        They are counted by `lsseq.nn.cost`, of an HM-LSTM those that its boundaries ask for.
        """
        layer = replace(self, backend="auto", device=torch.device("meta")).ours()
        return round(self.shape.steps * self.shape.batch * layer.flops())

    @property
    def _sizes(self) -> tuple[int, int, int]:
        return self.shape.input, self.shape.hidden, self.shape.layers

    @property
    def _format(self) -> dict[str, Any]:
        return {"device": self.device, "dtype": self.dtype}


def layers_of(options: Mapping[str, Any]) -> int:
    """How many layers these options are meant for: one more than have boundaries."""
    return len(options.get("boundary_rates", ())) + 1
