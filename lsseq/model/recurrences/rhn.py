"""Recurrent highway network with zoneout, dropout, low rank and layer norm as options (`lsseq.nn.RHN`)."""

from __future__ import annotations

from typing import Any

import lsseq.nn as lnn
from lsseq.model.initialisation import initialise_recurrent
from lsseq.model.recurrence import Layers, Recurrence, Stack
from lsseq.model.served import serves
from lsseq.model.stacked import random_steps
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault


def build(model: schema.Model, input_size: int) -> Recurrence:
    """The network that a recipe describes; `model.layers` of them stand above each other."""
    serves(
        model,
        *("rhn", "zoneout.hidden", "norm", "rank", "diagonal", "tied_rank", "backend"),
        *("dropout.hidden", "dropout.recurrent", "dropout.state", "initialisation.weights"),
    )
    if model.backend not in ("auto", "reference"):
        raise KeyFault("model.backend", f"a recurrent highway network has no back end `{model.backend}`")
    options: dict[str, Any] = {
        "tied": model.rhn.tied,
        "random_steps": random_steps(model.rhn.random_steps),
        "transform_bias": model.rhn.transform_bias,
        "zoneout_hidden": model.zoneout.hidden,
        "recurrent_dropout": model.dropout.recurrent,
        "state_dropout": model.dropout.state,
        "rank": model.rank,
        "diagonal": model.diagonal,
        "tied_rank": model.tied_rank,
        "norm": model.norm,
    }
    sizes = [model.hidden] * model.layers if isinstance(model.hidden, int) else model.hidden
    layers = []
    for I, H in zip([input_size, *sizes], sizes, strict=False):
        rhn = lnn.RHN(I, H, model.rhn.depth, **options)
        initialise_recurrent(rhn, model.initialisation)
        layers.append(Layers(rhn))
    if len(layers) == 1:
        return layers[0]
    return Stack(layers, lnn.Dropout(model.dropout.hidden, mask=model.dropout.mask))
