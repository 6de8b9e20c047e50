"""Mogrifier LSTM with zoneout and recurrent dropout as options (`lsseq.nn.MogrifierLSTM`)."""

from __future__ import annotations

import lsseq.nn as lnn
from lsseq.model.initialisation import initialise_recurrent
from lsseq.model.recurrence import Layers, Recurrence, Stack
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
    if model.backend not in ("auto", "reference"):
        raise KeyFault("model.backend", f"a Mogrifier LSTM has no back end `{model.backend}`")
    sizes = [model.hidden] * model.layers if isinstance(model.hidden, int) else model.hidden
    layers = []
    for I, H in zip([input_size, *sizes], sizes, strict=False):
        try:
            layer = lnn.MogrifierLSTM(
                I,
                H,
                model.mogrifier.rounds,
                rank=model.mogrifier.rank,
                zoneout_cell=model.zoneout.cell,
                zoneout_hidden=model.zoneout.hidden,
                recurrent_dropout=model.dropout.recurrent,
            )
        except ValueError as error:
            raise KeyFault("model.mogrifier.rank", str(error)) from error
        initialise_recurrent(layer, model.initialisation)
        layers.append(Layers(layer))
    return layers[0] if len(layers) == 1 else Stack(layers, lnn.Dropout(model.dropout.hidden, mask=model.dropout.mask))
