"""GRU with zoneout, recurrent dropout, weight drop, low rank and layer norm as options (`lsseq.nn.GRU`)."""

from __future__ import annotations

from functools import partial

import lsseq.nn as lnn
from lsseq.model.plain import build_plain, refuse
from lsseq.model.recurrence import Recurrence
from lsseq.recipe import schema


def build(model: schema.Model, input_size: int) -> Recurrence:
    """The GRU layers that a recipe describes."""
    refuse(model, "boundary", "hierarchy", "rhn", "mogrifier", "zoneout.cell", "activation", "dropout.state")
    refuse(model, "norm_steps", "initialisation.forget_bias")
    make = partial(lnn.GRU, reset=model.reset, recurrent_dropout=model.dropout.recurrent)
    return build_plain(model, input_size, make)
