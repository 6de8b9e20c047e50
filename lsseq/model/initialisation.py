"""How the parameters of a language model start."""

from __future__ import annotations

import math

import torch
from torch import nn

import lsseq.nn as lnn
from lsseq.model.parts import TokenInput, TokenOutput
from lsseq.nn import init
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault


def initialise_recurrent(layer: lnn.LSTM | lnn.GRU | lnn.RNN, initialisation: schema.Initialisation) -> None:
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
    if initialisation.forget_bias is not None and isinstance(layer, lnn.LSTM):
        init.forget_bias_(layer, initialisation.forget_bias)


def initialise_ends(embedding: TokenInput, output: TokenOutput, size: int, half_width: float | None) -> None:
    """Start the embedding and the output layer over `size` features; biases are 0.

    With a half width both are uniform in it. Without, the embedding is normal with deviation 1, as in `torch.nn`, and
    the output layer uniform in ±1/√H; a weight that is both follows the output layer, since logits of deviation √H
    would begin far above the uniform distribution.
    """
    width = 1 / math.sqrt(size) if half_width is None else half_width
    with torch.no_grad():
        for weight in (embedding.weight, output.weight):
            if weight is None:
                continue
            if weight is embedding.weight and half_width is None and output.weight is not None:
                nn.init.normal_(weight)
            else:
                nn.init.uniform_(weight, -width, width)
