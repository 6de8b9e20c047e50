"""LSTM with zoneout, recurrent dropout, weight drop, low rank and norms as options (`lsseq.nn.LSTM`)."""

from __future__ import annotations

from functools import partial

import lsseq.nn as lnn
from lsseq.model.plain import PLAIN, build_plain
from lsseq.model.recurrence import Recurrence
from lsseq.model.served import serves
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault


def build(model: schema.Model, input_size: int) -> Recurrence:
    """The LSTM layers that a recipe describes."""
    serves(model, *PLAIN, "norm", "norm_steps", "zoneout.cell", "dropout.recurrent", "initialisation.forget_bias")
    if model.norm == "batch" and model.recompute:
        raise KeyFault("model.recompute", "model.recompute would take the statistics of model.norm `batch` twice")
    make = partial(
        lnn.LSTM,
        zoneout_cell=model.zoneout.cell,
        recurrent_dropout=model.dropout.recurrent,
        norm_steps=model.norm_steps,
    )
    return build_plain(model, input_size, make)
