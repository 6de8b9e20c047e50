"""How the parameters of a recurrent layer start."""

from __future__ import annotations

import torch
from torch import nn

import lsseq.nn as lnn
from lsseq.nn import init
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault

Layer = lnn.LSTM | lnn.GRU | lnn.RNN | lnn.RHN | lnn.MogrifierLSTM


def initialise_recurrent(layer: Layer, initialisation: schema.Initialisation) -> None:
    """Start a recurrent layer as a recipe says; `torch` keeps what the constructor did.

    Raises:
        KeyFault: uniform weights without a range.
    """
    if initialisation.weights == "uniform":
        if initialisation.range is None:
            raise KeyFault("model.initialisation.range", "uniform weights need `model.initialisation.range`")
        init.uniform_(layer, initialisation.range)
    elif initialisation.weights == "orthogonal":
        init.orthogonal_(layer)
    elif initialisation.weights == "glorot":
        init.glorot_(layer)
    if initialisation.forget_bias is not None and isinstance(layer, (lnn.LSTM, lnn.MogrifierLSTM)):
        init.forget_bias_(layer, initialisation.forget_bias)
    if initialisation.carry_bias is not None and isinstance(layer, lnn.GRU):
        init.carry_bias_(layer, initialisation.carry_bias)
    if isinstance(layer, lnn.RHN):
        layer.reset_biases()


def initialise_hierarchy(hm: lnn.HMLSTM, initialisation: schema.Initialisation) -> None:
    """The same for an HM-LSTM; of orthogonal and Glorot weights the rows of the detectors, and the diagonals beside
    low-rank ones, stay as `torch` has them.

    Raises:
        KeyFault: uniform weights without a range.
    """
    if initialisation.weights == "uniform" and initialisation.range is None:
        raise KeyFault("model.initialisation.range", "uniform weights need `model.initialisation.range`")
    by_gate = {"orthogonal": nn.init.orthogonal_, "glorot": nn.init.xavier_uniform_}.get(initialisation.weights)
    with torch.no_grad():
        for name, parameter in hm.named_parameters():
            kind, _, rest = name.partition("_l")
            layer, _, factor = rest.partition("_")
            H = hm.hidden_size[int(layer)]
            if kind.startswith("weight") and initialisation.weights == "uniform" and initialisation.range is not None:
                nn.init.uniform_(parameter, -initialisation.range, initialisation.range)
            elif kind.startswith("weight") and by_gate is not None and factor not in ("diag", "boundary"):
                rows = hm.rank if factor == "right" and hm.rank is not None else H
                for gate in torch.split(parameter[: 4 * H], rows):
                    by_gate(gate)
            elif kind == "bias" and initialisation.forget_bias is not None:
                parameter[H : 2 * H] = initialisation.forget_bias
