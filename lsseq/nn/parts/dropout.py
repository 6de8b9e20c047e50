"""Dropout of candidates and of weights."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lsseq.nn.parts.coins import shape_of
from lsseq.nn.random import Draws, Kind, keep_scale

Drop = Callable[[Tensor, int], Tensor]
"""(candidate, step) -> the candidate with dropped units."""


def recurrent_dropout(rate: float, draws: Draws | None, inputs: Tensor, units: int) -> Drop:
    """Recurrent dropout without memory loss (Semeniuta et al. 2016), a new mask each step of the inputs (T, B, ·).

    Only what is added to the state is dropped, kept values are divided by 1 - rate; the identity in evaluation.
    """
    if rate == 0.0 or draws is None:
        return lambda candidate, _: candidate
    masks = draws.mask(Kind.RECURRENT_DROPOUT, rate, shape_of(inputs, "step", units), inputs.device)
    factors = keep_scale(masks, rate, inputs.dtype).unbind(0)
    return lambda candidate, t: candidate * factors[t]


def drop_weights(weight: Tensor, rate: float, key: int, layer: int) -> Tensor:
    """The weight (rows, columns) with entries dropped, kept ones divided by 1 - rate; one mask for the whole call.

    DropConnect as in the weight-dropped LSTM (Merity et al. 2018). The mask is of the weight, not of rows of the batch.
    """
    rows, columns = weight.shape
    draws = Draws.of_the_call(key, layer)
    mask = draws.mask(Kind.WEIGHT_DROPOUT, rate, (1, rows, columns), weight.device)[0]
    return weight * keep_scale(mask, rate, weight.dtype)
