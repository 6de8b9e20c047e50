"""What the fused kernels give against what the reference gives: outputs, last states and every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.kernels.cpu import native
from lsseq.nn.recurrent import Recurrent
from lsseq.nn.single import SingleLayer

needs_kernels = pytest.mark.skipif(isinstance(native.compiled(), str), reason=f"no fused kernels: {native.compiled()}")

Layer = Recurrent | SingleLayer
Arguments = dict[str, object]
Loss = Callable[[Tensor, tuple[Tensor, ...]], Tensor]

# Each recurrence in its plain forms, and each with everything that it has.
PLAIN: list[tuple[str, Arguments]] = [
    ("LSTM", {}),
    ("GRU", {}),
    ("GRU", {"reset": "before"}),
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
]
_LSTM_RATES = {"zoneout_cell": 0.5, "zoneout_hidden": 0.05, "recurrent_dropout": 0.25, "weight_dropout": 0.2}
_GRU_RATES = {"zoneout_hidden": 0.3, "recurrent_dropout": 0.25, "weight_dropout": 0.2}
_RNN_RATES = {"zoneout_hidden": 0.3, "weight_dropout": 0.2}
FULL: list[tuple[str, Arguments]] = [
    (cell, {**options, **rates, "norm": "layer"})
    for (cell, options), rates in zip(PLAIN, (_LSTM_RATES, _GRU_RATES, _GRU_RATES, _RNN_RATES, _RNN_RATES), strict=True)
]
SINGLE: list[tuple[str, Arguments]] = [
    *(("LSTM", {name: rate}) for name, rate in _LSTM_RATES.items()),
    ("LSTM", {"zoneout_cell": 0.5, "zoneout_hidden": 0.05}),
    ("LSTM", {"norm": "layer"}),
    *(("GRU", {name: rate}) for name, rate in _GRU_RATES.items()),
    *(("GRU", {"reset": "before", name: rate}) for name, rate in _GRU_RATES.items()),
    ("GRU", {"norm": "layer"}),
    ("GRU", {"reset": "before", "norm": "layer"}),
    *(("RNN", {name: rate}) for name, rate in _RNN_RATES.items()),
    ("RNN", {"nonlinearity": "relu", "zoneout_hidden": 0.3}),
    ("RNN", {"norm": "layer"}),
    ("RNN", {"nonlinearity": "relu", "norm": "layer"}),
]


def make(cell: str, inputs: int, units: int, dtype: torch.dtype = torch.float64, **arguments: object) -> Any:
    """A layer whose gains differ from 1 and whose biases from 0; small gains, so that rounding errors do not grow."""
    torch.manual_seed(0)
    layer = getattr(lnn, cell)(inputs, units, dtype=dtype, **arguments)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("norm"):
                parameter.uniform_(-0.2, 0.2).add_(0.0 if "bias" in name else 0.4)
    return layer


def data(layer: Layer, steps: int, rows: int, seed: int = 1) -> tuple[Tensor, tuple[Tensor, ...]]:
    """An input (T, B, I) and initial states (layers, B, H)."""
    g = torch.Generator().manual_seed(seed)
    dtype = next(layer.parameters()).dtype
    x = torch.randn(steps, rows, layer.input_size, dtype=dtype, generator=g)
    states = torch.randn(2, layer.num_layers, rows, layer.hidden_size, dtype=dtype, generator=g)
    return x, tuple(states[: 2 if isinstance(layer.zero_state(x), tuple) else 1])


def weighted(output: Tensor, states: tuple[Tensor, ...]) -> Tensor:
    """A loss whose gradient differs in every element of what a layer gives."""
    g = torch.Generator().manual_seed(2)
    parts = (output, *states)
    return torch.stack([(part * torch.randn(part.shape, dtype=part.dtype, generator=g)).sum() for part in parts]).sum()


def results(
    layer: Layer,
    backend: str,
    x: Tensor,
    states: tuple[Tensor, ...],
    loss: Loss = weighted,
    inputs_learn: bool = True,
) -> dict[str, Tensor]:
    """What a layer gives for an input and states, and the gradients of a loss of it, by name.

    Those of the input and the states too, where `inputs_learn`; of the parameters that require one.
    """
    layer.backend = backend  # type: ignore[assignment]
    x, *states = (part.detach().requires_grad_(inputs_learn) for part in (x, *states))  # type: ignore[assignment]
    torch.manual_seed(3)
    output, last = layer(x, tuple(states) if len(states) > 1 else states[0])
    last = last if isinstance(last, tuple) else (last,)
    found = {"output": output, **{f"last {name}": state for name, state in zip("hc", last, strict=False)}}
    sources = {"x": x, **{f"initial {name}": state for name, state in zip("hc", states, strict=False)}}
    sources |= dict(layer.named_parameters())
    sources = {name: source for name, source in sources.items() if source.requires_grad}
    if sources:
        gradients = torch.autograd.grad(loss(output, last), list(sources.values()), allow_unused=True)
        found |= {f"d {name}": d for name, d in zip(sources, gradients, strict=True) if d is not None}
    return found


def assert_close(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    """Each tensor to `tolerance` of its largest value; those that are next to nothing to that of a thousandth."""
    assert got.keys() == want.keys()
    for name, expected in want.items():
        assert got[name].shape == expected.shape, name
        if expected.numel() == 0:
            continue
        scale = max(expected.abs().max().item(), 1e-3)
        difference = (got[name] - expected).abs().max().item()
        assert difference <= tolerance * scale, f"{name}: {difference:.2e} of {scale:.2e}"


def assert_parity(
    layer: Layer,
    x: Tensor,
    states: tuple[Tensor, ...],
    tolerance: float = 1e-12,
    loss: Loss = weighted,
    inputs_learn: bool = True,
) -> None:
    """The fused kernels give what the reference gives."""
    got, want = (results(layer, backend, x, states, loss, inputs_learn) for backend in ("fused", "reference"))
    assert_close(got, want, tolerance)


def poison_new_memory(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Fills with NaN, until the test ends, what PyTorch gives of memory that nobody wrote to; and lists it."""
    new_empty, empty_like = torch.Tensor.new_empty, torch.empty_like
    filled = []

    def poisoned(part: Tensor) -> Tensor:
        filled.append(part)
        return part.fill_(torch.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *size: poisoned(new_empty(self, *size)))
    monkeypatch.setattr(torch, "empty_like", lambda like: poisoned(empty_like(like)))
    return filled
