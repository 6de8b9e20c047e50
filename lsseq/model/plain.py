"""Recurrences that are a module of `lsseq.nn`, built from a recipe."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import lsseq.nn as lnn
from lsseq.model.initialisation import Layer, initialise_recurrent
from lsseq.model.recurrence import Layers, Recurrence, Stack
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault

PLAIN = (
    *("rank", "input_rank", "diagonal", "tied_rank", "zoneout.hidden", "norm=layer", "recompute", "backend"),
    *("dropout.hidden", "dropout.weight", "initialisation.weights"),
)
"""Keys that all of them serve."""

Make = Callable[..., lnn.LSTM | lnn.GRU | lnn.RNN]
"""(input_size, hidden_size, num_layers, **options) -> module."""


def build_plain(model: schema.Model, input_size: int, make: Make) -> Recurrence:
    """One module of all layers where they have one size, else a stack of modules of one layer each.

    `make` takes I, H, L and the options that all recurrences of `lsseq.nn` share.

    Raises:
        KeyFault: no back end serves these options, or the first layer reads fewer numbers than its rank is to be.
    """
    if model.input_rank is not None and model.input_rank > input_size:
        message = f"model.input_rank ({model.input_rank}) is more than what the first layer reads ({input_size})"
        raise KeyFault("model.input_rank", message)
    options: dict[str, Any] = {
        "zoneout_hidden": model.zoneout.hidden,
        "weight_dropout": model.dropout.weight,
        "rank": model.rank,
        "input_rank": model.input_rank,
        "diagonal": model.diagonal,
        "tied_rank": model.tied_rank,
        "norm": model.norm,
        "recompute": model.recompute,
        "backend": model.backend,
    }

    def layers_of(I: int, H: int, L: int, **dropout: Any) -> Layers:
        rnn = make(I, H, L, **options, **dropout)
        initialise_recurrent(rnn, model.initialisation)
        return Layers(rnn)

    try:
        if isinstance(model.hidden, int):
            between = {"dropout": model.dropout.hidden, "dropout_mask": model.dropout.mask}
            return layers_of(input_size, model.hidden, model.layers, **(between if model.layers > 1 else {}))
        layers = [layers_of(I, H, 1) for I, H in pairwise([input_size, *model.hidden])]
        return Stack(layers, lnn.Dropout(model.dropout.hidden, mask=model.dropout.mask))
    except ValueError as error:
        # The schema has checked every single value, so what is left is a back end that cannot serve them together.
        raise KeyFault("model.backend", str(error)) from error


def build_layers(model: schema.Model, input_size: int, make: Callable[[int, int], Layer]) -> Recurrence:
    """Modules of one layer above each other, or one alone; `make` takes I and H.

    Raises:
        KeyFault: the back end that is asked for cannot serve them.
    """
    sizes = [model.hidden] * model.layers if isinstance(model.hidden, int) else model.hidden
    layers = []
    for I, H in pairwise([input_size, *sizes]):
        try:
            layer = make(I, H)
        except ValueError as error:
            raise KeyFault("model.backend", str(error)) from error
        initialise_recurrent(layer, model.initialisation)
        layers.append(Layers(layer))
    return layers[0] if len(layers) == 1 else Stack(layers, lnn.Dropout(model.dropout.hidden, mask=model.dropout.mask))
