"""Recurrent highway network with zoneout, dropout, low rank and layer norm as options (`lsseq.nn.RHN`)."""

from __future__ import annotations

from typing import Any

import lsseq.nn as lnn
from lsseq.model.plain import build_layers
from lsseq.model.recurrence import Recurrence
from lsseq.model.served import serves
from lsseq.model.stacked import random_steps
from lsseq.recipe import schema


def build(model: schema.Model, input_size: int) -> Recurrence:
    """The network that a recipe describes; `model.layers` of them stand above each other."""
    serves(
        model,
        *("rhn", "zoneout.hidden", "norm=layer", "rank", "diagonal", "tied_rank", "backend"),
        *("dropout.hidden", "dropout.recurrent", "dropout.state", "initialisation.weights"),
    )
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
        "backend": model.backend,
    }
    return build_layers(model, input_size, lambda I, H: lnn.RHN(I, H, model.rhn.depth, **options))
