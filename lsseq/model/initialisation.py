"""How the parameters of a recurrent layer start."""

from __future__ import annotations

import lsseq.nn as lnn
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
