"""LSTM with zoneout, recurrent dropout, weight drop, low rank and norms as options (`lsseq.nn.LSTM`)."""

from __future__ import annotations

from functools import partial

import lsseq.nn as lnn
from lsseq.model.plain import PLAIN, build_layers, build_plain
from lsseq.model.recurrence import Recurrence
from lsseq.model.served import serves
from lsseq.recipe import schema


def build(model: schema.Model, input_size: int) -> Recurrence:
    """The LSTM layers that a recipe describes."""
    if model.norm == "batch":
        return _batch_normalised(model, input_size)
    serves(model, *PLAIN, "zoneout.cell", "dropout.recurrent", "initialisation.forget_bias")
    make = partial(lnn.LSTM, zoneout_cell=model.zoneout.cell, recurrent_dropout=model.dropout.recurrent)
    return build_plain(model, input_size, make)


def _batch_normalised(model: schema.Model, input_size: int) -> Recurrence:
    serves(
        model,
        *("norm", "norm_steps", "zoneout", "dropout.hidden", "backend"),
        *("initialisation.weights", "initialisation.forget_bias"),
    )
    cell, hidden = model.zoneout.cell, model.zoneout.hidden
    make = partial(lnn.BatchNormLSTM, steps=model.norm_steps or 1, zoneout_cell=cell, zoneout_hidden=hidden)
    return build_layers(model, input_size, make)
