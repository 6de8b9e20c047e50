"""Initialisations of recurrent layers, in place, by the names that `torch.nn` gives to parameters.

They serve the recurrent layers of `torch.nn`, and `LSTM`, `GRU`, `RNN`, `RHN` and `MogrifierLSTM` of `lsseq.nn`; other
modules raise TypeError, stacks too, whose layers are initialised one by one. Gains and biases of norms (`norm_…`) keep
their values. Of a weight of low rank each gate's L and R is a block, and so is an R that the gates share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from lsseq.nn.mogrifier import MogrifierLSTM


def orthogonal_(layer: nn.Module) -> None:
    """Each gate's block of each weight (semi-)orthogonal (Saxe et al. 2014), biases 0.

    Of low rank, L and R are then the factors of a random orthogonal matrix that is cut to the rank. The diagonal keeps
    its values, and so do the gatings of a Mogrifier LSTM.
    """
    _by_gate(layer, nn.init.orthogonal_)


def glorot_(layer: nn.Module) -> None:
    """Each gate's block of each weight uniform in ±√(6 / (rows + columns)) (Glorot and Bengio 2010), biases 0.

    L and R of low rank are taken for weights, as in the code of Miceli Barone (2016), which makes their product smaller
    than a whole matrix would be. The diagonal keeps its values, and so do the gatings of a Mogrifier LSTM.
    """
    _by_gate(layer, nn.init.xavier_uniform_)


def uniform_(layer: nn.Module, half_width: float) -> None:
    """All weights and biases uniform in ±half_width (Zaremba et al. 2014); of an `HMLSTM` and a `Highway` too."""
    _require_weights(layer)
    for name, parameter in layer.named_parameters():
        if name.startswith(("weight_", "bias_", "gate_")):
            nn.init.uniform_(parameter, -half_width, half_width)


def forget_bias_(layer: nn.Module, value: float) -> None:
    """The forget gates' effective bias is `value` (Jozefowicz et al. 2015): so in bias_ih, 0 in bias_hh (rows H to 2H).

    Raises:
        ValueError: not an LSTM, or one without biases.
    """
    if not isinstance(layer, MogrifierLSTM) and (getattr(layer, "mode", "") != "LSTM" or not layer.bias):
        raise ValueError("a forget bias needs an LSTM with biases")
    _second_gate_bias(layer, value)


def carry_bias_(layer: nn.GRU, value: float) -> None:
    """The effective bias of the gate that keeps the old state is `value`: so in bias_ih, 0 in bias_hh (rows H to 2H).

    This is z of `torch.nn.GRU`, and u of Miceli Barone (2016), whose code takes 4 for tasks of memory and 5 for
    permuted MNIST, so that a new layer passes its state on. Where z stands for what is new, the sign is the other one.

    Raises:
        ValueError: not a GRU, or one without biases.
    """
    if layer.mode != "GRU" or not layer.bias:
        raise ValueError("a carry bias needs a GRU with biases")
    _second_gate_bias(layer, value)


def _second_gate_bias(layer: nn.Module, value: float) -> None:
    """Of f in i, f, g, o and of z in r, z, n."""
    H = cast(int, layer.hidden_size)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("bias_"):
                parameter[H : 2 * H] = value if name.startswith("bias_ih") else 0.0


def _require_weights(layer: nn.Module) -> None:
    """Raises TypeError unless a module has weights of its own, by the names that are known here."""
    if not any(name.startswith("weight_") for name, _ in layer.named_parameters(recurse=False)):
        raise TypeError(f"expected a recurrent layer, got a {type(layer).__name__}")


def _by_gate(layer: nn.Module, init: Callable[[Tensor], Tensor]) -> None:
    _require_weights(layer)
    H = getattr(layer, "hidden_size", None)
    if not isinstance(H, int):
        raise TypeError(f"expected a recurrent layer of one size, got a {type(layer).__name__}")
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("bias_"):
                parameter.zero_()
            elif name.startswith("weight_hr"):
                init(parameter)
            elif name.endswith("_right"):
                rank = cast(Tensor, getattr(layer, name.replace("_right", "_left"))).shape[1]
                for factor in torch.split(parameter, rank):
                    init(factor)
            elif name.startswith("weight_") and parameter.dim() == 2:
                for gate in torch.split(parameter, H):
                    init(gate)
