"""Initialisations of recurrent layers, in place, by the names that `torch.nn` gives to parameters.

They serve every layer of `lsseq.nn` and of `torch.nn`. Gains and biases of norms (`norm_…`) keep their values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def orthogonal_(layer: nn.RNNBase) -> None:
    """Each gate's block of each weight (semi-)orthogonal (Saxe et al. 2014), biases 0."""
    _by_gate(layer, nn.init.orthogonal_)


def glorot_(layer: nn.RNNBase) -> None:
    """Each gate's block of each weight uniform in ±√(6 / (rows + columns)) (Glorot and Bengio 2010), biases 0."""
    _by_gate(layer, nn.init.xavier_uniform_)


def uniform_(layer: nn.RNNBase, half_width: float) -> None:
    """All weights and biases uniform in ±half_width (Zaremba et al. 2014)."""
    for name, parameter in layer.named_parameters():
        if name.startswith(("weight_", "bias_")):
            nn.init.uniform_(parameter, -half_width, half_width)


def forget_bias_(layer: nn.LSTM, value: float) -> None:
    """The forget gates' effective bias is `value` (Jozefowicz et al. 2015): so in bias_ih, 0 in bias_hh (rows H to 2H).

    Raises:
        ValueError: not an LSTM, or one without biases.
    """
    if layer.mode != "LSTM" or not layer.bias:
        raise ValueError("a forget bias needs an LSTM with biases")
    H = layer.hidden_size
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("bias_"):
                parameter[H : 2 * H] = value if name.startswith("bias_ih") else 0.0


def _by_gate(layer: nn.RNNBase, init: Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("bias_"):
                parameter.zero_()
            elif name.startswith("weight_hr"):
                init(parameter)
            elif name.startswith("weight_"):
                for gate in torch.split(parameter, layer.hidden_size):
                    init(gate)
