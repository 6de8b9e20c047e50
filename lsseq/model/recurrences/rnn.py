"""Simple recurrent network with zoneout, weight drop, low rank and layer norm as options (`lsseq.nn.RNN`)."""

from __future__ import annotations

from functools import partial

import lsseq.nn as lnn
from lsseq.model.plain import build_plain, refuse
from lsseq.model.recurrence import Recurrence
from lsseq.recipe import schema


def build(model: schema.Model, input_size: int) -> Recurrence:
    """The layers that a recipe describes."""
    refuse(
        model,
        "boundary",
        "hierarchy",
        "rhn",
        "mogrifier",
        "zoneout.cell",
        "reset",
        "dropout.recurrent",
        "dropout.state",
    )
    refuse(model, "norm_steps", "initialisation.forget_bias")
    return build_plain(model, input_size, partial(lnn.RNN, nonlinearity=model.activation))
