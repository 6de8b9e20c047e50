"""LSTM with zoneout, recurrent dropout, weight drop, low rank and layer norm as options (`lsseq.nn.LSTM`)."""

from __future__ import annotations

from functools import partial

import lsseq.nn as lnn
from lsseq.model.plain import PLAIN, build_plain
from lsseq.model.recurrence import Recurrence
from lsseq.model.served import serves
from lsseq.recipe import schema


def build(model: schema.Model, input_size: int) -> Recurrence:
    """The LSTM layers that a recipe describes."""
    serves(model, *PLAIN, "zoneout.cell", "dropout.recurrent", "initialisation.forget_bias")
    make = partial(lnn.LSTM, zoneout_cell=model.zoneout.cell, recurrent_dropout=model.dropout.recurrent)
    return build_plain(model, input_size, make)
