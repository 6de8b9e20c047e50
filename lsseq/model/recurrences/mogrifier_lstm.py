"""Mogrifier LSTM with zoneout and recurrent dropout as options (`lsseq.nn.MogrifierLSTM`)."""

from __future__ import annotations

import lsseq.nn as lnn
from lsseq.model.plain import build_layers
from lsseq.model.recurrence import Recurrence
from lsseq.model.served import serves
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault


def build(model: schema.Model, input_size: int) -> Recurrence:
    """The layers that a recipe describes."""
    serves(
        model,
        *("mogrifier", "zoneout", "dropout.hidden", "dropout.recurrent", "backend"),
        *("initialisation.weights", "initialisation.forget_bias"),
    )

    def layer(I: int, H: int) -> lnn.MogrifierLSTM:
        rank = model.mogrifier.rank
        most = min(I, H)
        if rank is not None and rank > most:
            message = f"model.mogrifier.rank ({rank}) is more than what a layer reads or has ({most})"
            raise KeyFault("model.mogrifier.rank", message)
        return lnn.MogrifierLSTM(
            I,
            H,
            model.mogrifier.rounds,
            rank=rank,
            zoneout_cell=model.zoneout.cell,
            zoneout_hidden=model.zoneout.hidden,
            recurrent_dropout=model.dropout.recurrent,
            backend=model.backend,  # type: ignore[arg-type] # the layer checks it
        )

    return build_layers(model, input_size, layer)
