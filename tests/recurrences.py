"""Every recurrence and stack of `lsseq.nn`, as small as can be, for what all of them must do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.nn.state import flatten_state

I = H = 6
"""What each reads and gives."""

RECURRENCES: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: lnn.LSTM(I, H, 2),
    "LSTM, noisy": lambda: lnn.LSTM(I, H, zoneout_cell=0.3, zoneout_hidden=0.1, recurrent_dropout=0.2),
    "LSTM, low rank": lambda: lnn.LSTM(I, H, rank=2, diagonal=True, weight_dropout=0.2),
    "GRU": lambda: lnn.GRU(I, H, norm="layer", zoneout_hidden=0.1),
    "RNN": lambda: lnn.RNN(I, H, zoneout_hidden=0.1),
    "HMLSTM": lambda: lnn.HMLSTM(I, H, 3, zoneout_cell=0.2),
    "RHN": lambda: lnn.RHN(I, H, 3),
    "RHN, noisy": lambda: lnn.RHN(I, H, 2, tied=True, zoneout_hidden=0.1, state_dropout=0.2),
    "MogrifierLSTM": lambda: lnn.MogrifierLSTM(I, H),
    "LSTM with batch norm": lambda: lnn.LSTM(I, H, norm="batch", norm_steps=4),
    "ResidualStack": lambda: lnn.ResidualStack(
        [lnn.LSTM(H, H), lnn.RHN(H, H)], stochastic_depth=lnn.StochasticDepth(0.5)
    ),
    "ResidualStack, swapout": lambda: lnn.ResidualStack([lnn.GRU(H, H), lnn.GRU(H, H)], swapout=lnn.Swapout()),
    "TiedStack": lambda: lnn.TiedStack([lnn.LSTM(H, H)], 3, injection="learned", difference_rank=2),
    "FractalStack": lambda: lnn.FractalStack(lambda: lnn.GRU(H, H), 2, drop_path=lnn.DropPath(0.2)),
    "FastSlow": lambda: lnn.FastSlow([lnn.LSTM(I, H), lnn.LSTM(H, H)], lnn.LSTM(H, H)),
    "DeepTransition": lambda: lnn.DeepTransition(lnn.GRU(I, H), 2),
}


def make(name: str) -> nn.Module:
    """One of them, always with the same parameters."""
    torch.manual_seed(0)
    return RECURRENCES[name]()


def parts(result: Any) -> list[Tensor]:
    """What a call gave: the output of the (last) layer, then the tensors of the state."""
    output, state = (result.outputs[-1], result.state) if isinstance(result, lnn.HMOutput) else result
    return [output, *flatten_state(state).values()]


def call(module: nn.Module, x: Tensor, state: Any = None, *, seed: int = 1) -> list[Tensor]:
    """`parts` of a call that draws its noise from this seed."""
    torch.manual_seed(seed)
    return parts(module(x, state))


def gradients(module: nn.Module, x: Tensor) -> Mapping[str, Tensor]:
    """Those of the sum of squares of the output, by parameter; of those that it depends on."""
    named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(call(module, x)[0].square().sum(), list(named.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(named, found, strict=True) if gradient is not None}
