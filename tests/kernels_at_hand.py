"""Fused kernels put in the place of the real ones, so that their faults are known and no compiler is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lsseq.nn.kernels import dispatch
from lsseq.nn.kernels.layer import Kernel, Layer, States
from lsseq.nn.parts.transition import Dense

Result = tuple[Tensor, States]
Fault = Callable[[Kernel, Tensor, States, Layer], Result]


class Fused:
    """The reference with a fault, or with an obstacle."""

    unserved = ()

    def __init__(self, fault: Fault | None = None, obstacle: str | None = None) -> None:
        self.fault, self._obstacle = fault, obstacle

    def description(self) -> str:
        return "kernels of the tests"

    def obstacle(self, dtype: torch.dtype) -> str | None:
        return self._obstacle

    def kernel(self, recurrence: str) -> Kernel:
        sound = dispatch.kernel(recurrence, "reference", "cpu")
        if self.fault is None:
            return sound
        fault = self.fault
        return lambda x, states, layer: fault(sound, x, states, layer)


@contextmanager
def fused(fault: Fault | None = None, obstacle: str | None = None) -> Iterator[None]:
    """In this context `fused` on the CPU is the reference with a fault, or cannot be had."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dispatch.FUSED, "cpu", Fused(fault, obstacle))
        dispatch.choose.cache_clear()
        try:
            yield
        finally:
            dispatch.choose.cache_clear()


def output_off(sound: Kernel, x: Tensor, states: States, layer: Layer) -> Result:
    """Every output 0.01% too large."""
    output, last = sound(x, states, layer)
    return output * 1.0001, last


def state_off(sound: Kernel, x: Tensor, states: States, layer: Layer) -> Result:
    """The first state is returned as the last."""
    output, _ = sound(x, states, layer)
    return output, states


def gradient_off(sound: Kernel, x: Tensor, states: States, layer: Layer) -> Result:
    """Right values, and a gradient of the hidden weight that is 0.1% too small."""
    W = layer.weights.hidden.compose()
    slow = W.detach() + 0.999 * (W - W.detach())
    return sound(x, states, replace(layer, weights=replace(layer.weights, hidden=Dense(slow))))


def no_masks(sound: Kernel, x: Tensor, states: States, layer: Layer) -> Result:
    """The rates in the place of masks."""
    return sound(x, states, replace(layer, draws=None))


def rates_forgotten(sound: Kernel, x: Tensor, states: States, layer: Layer) -> Result:
    """No zoneout in evaluation."""
    return sound(x, states, layer if layer.draws else replace(layer, zoneout_cell=0.0, zoneout_hidden=0.0))


def not_a_number(sound: Kernel, x: Tensor, states: States, layer: Layer) -> Result:
    """One output is NaN."""
    output, last = sound(x, states, layer)
    spoil = torch.zeros_like(output)
    spoil[0, 0, 0] = torch.nan
    return output + spoil, last


def crash(sound: Kernel, x: Tensor, states: States, layer: Layer) -> Result:
    raise RuntimeError("illegal instruction\nat 0x00")
