"""The masks of lsseq/nn/random.py, which documents the function, drawn in kernels: the same events for the same
integers, at every step of either pass, with nothing stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from lsseq.nn.random import Draws, Kind, call_words, signed

_GOLDEN = tl.constexpr(0x9E3779B9)
_FIRST = tl.constexpr(0x7FEB352D)
_SECOND = tl.constexpr(0x846CA68B)

# A place in the tables for each kind of mask, and one beyond.
CELL = tl.constexpr(0)
HIDDEN = tl.constexpr(1)
DROPOUT = tl.constexpr(2)
_LAST = tl.constexpr(3)
_KINDS = (Kind.ZONEOUT_CELL, Kind.ZONEOUT_HIDDEN, Kind.RECURRENT_DROPOUT)


@dataclass(frozen=True)
class Masks:
    """What the kernels need to know of the masks of a layer in a call. The tables are in the device's memory, because
    a number that changes from call to call would have a kernel compiled anew."""

    words: Tensor  # int32: for each kind both words of the call and the threshold; at last first row and step
    rates: Tensor  # what takes the place of each mask that is not drawn; at last the scale of what is not dropped
    drawn: tuple[bool, ...]

    @classmethod
    def of(
        cls, draws: Draws | None, rates: tuple[float, float, float], device: torch.device | str, dtype: torch.dtype
    ) -> Masks:
        """The masks of a layer, rates in the order of the tables; `dtype` is the one that kernels compute in."""
        words: list[int] = []
        drawn = (False,) * len(rates)
        constants = [*rates[:-1], 0.0]
        if draws is not None:
            for kind, rate in zip(_KINDS, rates, strict=True):
                words += [*call_words(draws.key, draws.layer, kind), _threshold(rate)]
            words += [draws.first_row, draws.first_step]
            drawn = tuple(-(2**31) < _threshold(rate) < 2**31 for rate in rates)
            constants = [float(round(rate)) for rate in rates]
        dropped = rates[-1] if draws is not None else 0.0
        scale = 1.0 / (1.0 - dropped) if dropped < 1.0 else 0.0
        return cls(_words(tuple(map(signed, words)), device), _rates((*constants, scale), device, dtype), drawn)


def _words(words: tuple[int, ...], device: torch.device | str) -> Tensor:
    """The table of a call, sent to the device without waiting for it."""
    on_cuda = torch.device(device).type == "cuda"
    return torch.tensor(words, dtype=torch.int32, pin_memory=on_cuda).to(device, non_blocking=True)


@lru_cache(maxsize=256)
def _rates(rates: tuple[float, ...], device: torch.device | str, dtype: torch.dtype) -> Tensor:
    return torch.tensor(rates, dtype=dtype, device=device)


def _threshold(rate: float) -> int:
    return round(rate * 2**32) - 2**31


@triton.jit
def _mix(x):
    x ^= x >> 16
    x *= _FIRST
    x ^= x >> 15
    x *= _SECOND
    return x ^ (x >> 16)


@triton.jit
def _row_word(words, step, row):
    """The word of a step and row from that of the call."""
    return _mix((_mix((tl.load(words).to(tl.uint32, bitcast=True) ^ step) + _GOLDEN) ^ row) + _GOLDEN)


@triton.jit
def share(KIND: tl.constexpr, DRAWN: tl.constexpr, words, rates, step, row, unit):
    """1 for each unit with an event and 0 for the others, or without a mask the constant in its place."""
    if DRAWN:
        row = (tl.load(words + 3 * _LAST) + row).to(tl.uint32, bitcast=True)
        step = (tl.load(words + 3 * _LAST + 1) + step).to(tl.uint32, bitcast=True)
        x = unit.to(tl.uint32, bitcast=True) * _GOLDEN
        x ^= _row_word(words + 3 * KIND, step, row)
        x ^= x >> 16
        x *= _FIRST
        x ^= _row_word(words + 3 * KIND + 1, step, row)
        x ^= x >> 15
        x *= _SECOND
        events = (x.to(tl.int32, bitcast=True) < tl.load(words + 3 * KIND + 2)).to(rates.dtype.element_ty)
    else:
        events = tl.load(rates + KIND)
    return events


@triton.jit
def kept(DRAWN: tl.constexpr, words, rates, step, row, unit):
    """The factor of recurrent dropout for each unit."""
    return (1 - share(DROPOUT, DRAWN, words, rates, step, row, unit)) * tl.load(rates + _LAST)


@triton.jit
def _draw(events, words, rates, H, KIND: tl.constexpr, DRAWN: tl.constexpr, BLOCK: tl.constexpr):
    step, row = tl.program_id(0), tl.program_id(1)
    unit = tl.arange(0, BLOCK)
    line = (step * tl.num_programs(1) + row).to(tl.int64)
    value = tl.zeros([BLOCK], rates.dtype.element_ty) + share(KIND, DRAWN, words, rates, step, row, unit)
    tl.store(events + line * H + unit, value, mask=unit < H)


def draw(masks: Masks, kind: Kind, steps: int, rows: int, units: int) -> Tensor:
    """What kernels see of a mask, (steps, rows, units): 1 for an event and 0 for none, or what takes its place."""
    place = _KINDS.index(kind)
    events = masks.rates.new_empty(steps, rows, units)
    block = triton.next_power_of_2(units)
    _draw[steps, rows](events, masks.words, masks.rates, units, KIND=place, DRAWN=masks.drawn[place], BLOCK=block)
    return events
