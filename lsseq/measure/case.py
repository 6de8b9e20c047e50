"""What is measured: a layer of `lsseq.nn` with options, at one shape, on one device.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.errors import RequestError
from lsseq.measure.fast_slow import LSTMFastSlow
from lsseq.measure.forced import ForcedHMLSTM
from lsseq.nn.recurrent import Recurrent
from lsseq.nn.single import SingleLayer

Layer = Recurrent | ForcedHMLSTM | SingleLayer

_LAYERS: dict[str, Callable[..., Layer]] = {
    "LSTM": lnn.LSTM,
    "GRU": lnn.GRU,
    "RNN": lnn.RNN,
    "HMLSTM": ForcedHMLSTM,
    "RHN": lnn.RHN,
    "MogrifierLSTM": lnn.MogrifierLSTM,
    "FastSlow": LSTMFastSlow,
}
_NAMESAKES: dict[str, Callable[..., nn.RNNBase]] = {"GRU": nn.GRU, "RNN": nn.RNN}
"""Of others it is the LSTM."""
_STATES = {"GRU": ("h_0",), "RNN": ("h_0",), "RHN": ("h_0",)}
"""Of others h_0 and c_0."""


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
    """LSTM, GRU, RNN, HMLSTM, whose boundaries are forced, RHN, MogrifierLSTM or FastSlow, whose cells are LSTMs."""
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

    def what(self) -> dict[str, Any]:
        """The layer, as keys of a row."""
        return {"cell": self.cell, "options": dict(self.options)}

    def ours(self) -> Layer:
        """The layer.

        Raises:
            RequestError: it has no such option, or the back end cannot serve it.
        """
        cls, shape = _LAYERS[self.cell], self.shape
        known = inspect.signature(cls).parameters
        unknown = [name for name in self.options if name not in known]
        if unknown:
            raise RequestError(f"{self.cell} has no option `{unknown[0]}`")
        if "num_layers" not in known and shape.layers > 1:
            raise RequestError(f"{self.cell} is one layer, got {shape.layers}")
        sizes = {"input_size": shape.input, "hidden_size": shape.hidden, "num_layers": shape.layers}
        given = {**sizes, "backend": self.backend, **self._format}
        if self._counts_steps:
            given["norm_steps"] = shape.steps
        try:
            return cls(**{name: value for name, value in given.items() if name in known}, **self.options)
        except ValueError as error:
            raise RequestError(f"{self.cell}: {error}") from error

    def theirs(self) -> nn.RNNBase:
        """The namesake in `torch.nn`, which has no options; where there is none, an LSTM of as many layers."""
        shape = self.shape
        return _NAMESAKES.get(self.cell, nn.LSTM)(shape.input, shape.hidden, shape.layers, **self._format)

    def sequence(self) -> Tensor:
        """An input (T, B, I) that wants a gradient, as the output of an embedding does."""
        shape = self.shape
        return torch.randn(shape.steps, shape.batch, shape.input, **self._format, requires_grad=True)

    def states(self) -> dict[str, Tensor]:
        """Initial states (layers, B, H) by name, none where it has to be the usual one; of a fast-slow network
        (2, B, H), of an HM-LSTM (B, H) for each layer."""
        if self._counts_steps:
            return {}
        names: Sequence[str] = _STATES.get(self.cell, ("h_0", "c_0"))
        count = 2 if self.cell == "FastSlow" else self.shape.layers  # one that is fast, and one that is slow
        size: tuple[int, ...] = (count, self.shape.batch, self.shape.hidden)
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
    def _counts_steps(self) -> bool:
        """Whether batch statistics of each step make the initial state a certain one."""
        return self.options.get("norm") == "batch"

    @property
    def _format(self) -> dict[str, Any]:
        return {"device": self.device, "dtype": self.dtype}


def layers_of(options: Mapping[str, Any]) -> int:
    """How many layers these options are meant for: one more than have boundaries."""
    return len(options.get("boundary_rates", ())) + 1
