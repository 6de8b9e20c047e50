"""Every random mask of `lsseq.nn`, as a pure function of integers.

A mask says for each unit whether an event of some rate happens (a unit keeps its old value, a weight is dropped).
Whether it happens depends on (key, layer, kind, step, row, unit) and on nothing else, so that a mask is the same on
every device, for every number of threads, in one call or several, in the forward pass or redrawn in the backward
pass, in Python, C or Triton.

- key: an integer of 63 bits, drawn once a forward call from PyTorch's default generator by `draw_key`.
  `torch.manual_seed` and a restored generator state therefore govern every mask.
- layer: which recurrent layer asks (for weights, the index of its direction in h_n), 0 elsewhere. kind: see `Kind`.
- step: index of the time step within the call; where the call is about a part of a longer sequence, `part` says where
  that begins. row: index of the example in the *whole* batch; a process that holds rows n, n+1, … of it says so with
  `first_row(n)`. unit: index of the feature. What holds for all steps has step 0, for the whole batch row 0.

The function, all words being unsigned 32-bit integers that wrap around:

    mix(x):    x ^= x >> 16;  x *= 0x7FEB352D;  x ^= x >> 15;  x *= 0x846CA68B;  x ^= x >> 16;  return x
    chain(s):  for word in (key & 0xFFFFFFFF, key >> 32, layer, kind, step, row):  s = mix((s ^ word) + 0x9E3779B9)
    a, b = chain(0x243F6A88), chain(0x85A308D3)                        # once a row and step
    x = a ^ (unit * 0x9E3779B9)                                        # for every unit
    x ^= x >> 16;  x *= 0x7FEB352D;  x ^= b;  x ^= x >> 15;  x *= 0x846CA68B
    event = signed(x) < round(rate * 2**32) - 2**31                    # signed: the same bits as an int32
    number = (signed(x) + 2**31) / 2**32                               # where a number in [0, 1) is asked for

`mix` is a bijection with good avalanche (constants of C. Wellons' lowbias32). Two words key each row, so that no two
rows of a training share a stream. Rate 0 gives no event and rate 1 nothing but events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor


class Kind(IntEnum):
    """What a mask is for. The numbers are part of the function: never change one, only add."""

    ZONEOUT_CELL = 0
    ZONEOUT_HIDDEN = 1
    RECURRENT_DROPOUT = 2
    WEIGHT_DROPOUT = 3
    LAYER_DROPOUT = 4
    DROPOUT = 5
    EMBEDDING_DROPOUT = 6
    BOUNDARY = 7
    STOCHASTIC_DEPTH = 8
    SWAPOUT_INPUT = 9
    SWAPOUT_BRANCH = 10
    DROP_PATH = 11
    REPETITIONS = 12
    STATE_DROPOUT = 13
    PATH = 14


_BLOCK = 1 << 16
"""Elements that are hashed at once: the temporaries then stay in the processor's cache."""
_GOLDEN = 0x9E3779B9
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B

_first_row: ContextVar[int] = ContextVar("lsseq_first_row", default=0)
_first_step: ContextVar[int] = ContextVar("lsseq_first_step", default=0)
_generator: ContextVar[torch.Generator | None] = ContextVar("lsseq_generator", default=None)
_by_row: ContextVar[bool] = ContextVar("lsseq_by_row", default=False)
_seen: ContextVar[Seen | None] = ContextVar("lsseq_seen", default=None)
_known_key: ContextVar[Callable[[], int] | None] = ContextVar("lsseq_known_key", default=None)


@dataclass
class Seen:
    """What was drawn while `watch` looked on."""

    masks: bool = False
    """Anything."""
    of_the_call: bool = False
    """Something that all rows of a call share, so that they are not independent of each other."""


@contextmanager
def watch() -> Iterator[Seen]:
    """Tells what is drawn in this context."""
    seen = Seen()
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


def draw_key() -> int:
    """A new key of 63 bits from PyTorch's default CPU generator, or from that of the surrounding `part`; in a step of
    `Steps` the one that it has."""
    if (seen := _seen.get()) is not None:
        seen.masks = True
    if (known_key := _known_key.get()) is not None:
        return known_key()
    return int(torch.randint(0, 2**63 - 1, (), dtype=torch.int64, device="cpu", generator=_generator.get()))


@contextmanager
def part(seed: int, first_step: int) -> Iterator[None]:
    """Says that what is called in this context reads a part of longer sequences, which begins at step `first_step`.

    The keys are those of a seed of 64 bits. Where every part is read by the same calls and with the same seed, the
    masks are those of the whole sequences: new ones for each step, and the same for all where they hold for all steps.
    """
    tokens = _first_step.set(first_step), _generator.set(torch.Generator("cpu").manual_seed(seed))
    try:
        yield
    finally:
        _first_step.reset(tokens[0])
        _generator.reset(tokens[1])


class Steps:
    """A call that is made step by step: its masks are those of one call with all steps.

    What is called must draw in the same order at every step: the keys are drawn at the first, and are the same at
    those after it.
    """

    def __init__(self) -> None:
        self._keys: list[int] = []

    @contextmanager
    def step(self, t: int) -> Iterator[None]:
        """Says that what is called in this context is step t of the call."""
        found = iter(tuple(self._keys))

        def known_key() -> int:
            key = next(found, None)
            if key is None:
                inner = _known_key.set(before)
                try:
                    key = draw_key()
                finally:
                    _known_key.reset(inner)
                self._keys.append(key)
            return key

        before = _known_key.get()
        tokens = _first_step.set(_first_step.get() + t), _known_key.set(known_key)
        try:
            yield
        finally:
            _first_step.reset(tokens[0])
            _known_key.reset(tokens[1])


@contextmanager
def first_row(row: int) -> Iterator[None]:
    """Says that row 0 of every batch in this context is row `row` of the whole batch (data-parallel shards)."""
    token = _first_row.set(row)
    try:
        yield
    finally:
        _first_row.reset(token)


@contextmanager
def by_row() -> Iterator[None]:
    """Says that each row of a batch in this context is a call of its own: what a call draws for all its rows is drawn
    for each of them, where rows may differ in it."""
    token = _by_row.set(True)
    try:
        yield
    finally:
        _by_row.reset(token)


def rows_are_calls() -> bool:
    """Whether a surrounding `by_row` says so."""
    return _by_row.get()


@contextmanager
def finer(factor: int) -> Iterator[None]:
    """Says that what is called in this context makes so many steps of each step outside."""
    token = _first_step.set(_first_step.get() * factor)
    try:
        yield
    finally:
        _first_step.reset(token)


@dataclass(frozen=True)
class Draws:
    """The masks of one layer in one call; a kernel that draws for itself takes the integers from here."""

    key: int
    layer: int = 0
    first_row: int = 0
    first_step: int = 0

    @classmethod
    def here(cls, key: int, layer: int = 0) -> Draws:
        """The draws of a layer whose rows and steps start where the surrounding `first_row` and `part` say."""
        return cls(key, layer, _first_row.get(), _first_step.get())

    @classmethod
    def of_the_call(cls, key: int, layer: int = 0) -> Draws:
        """The draws of what all rows and steps of a call share, in whatever parts of the batch it is computed."""
        if (seen := _seen.get()) is not None:
            seen.of_the_call = True
        return cls(key, layer)

    def held(self) -> Draws:
        """The draws of what holds for all steps of a row."""
        return replace(self, first_step=0)

    def mask(self, kind: Kind, rate: float, shape: tuple[int, int, int], device: torch.device | str = "cpu") -> Tensor:
        """The mask of shape (steps, rows, units) for these rows; see `bernoulli`."""
        first = {"first_step": self.first_step, "first_row": self.first_row}
        return bernoulli(self.key, self.layer, kind, rate, *shape, **first, device=device)

    def uniform(self, kind: Kind, shape: tuple[int, int, int], device: torch.device | str = "cpu") -> Tensor:
        """Numbers of shape (steps, rows, units) for these rows; see `uniform`."""
        first = {"first_step": self.first_step, "first_row": self.first_row}
        return uniform(self.key, self.layer, kind, *shape, **first, device=device)


def bernoulli(
    key: int,
    layer: int,
    kind: int,
    rate: float,
    steps: int,
    rows: int,
    units: int,
    *,
    first_step: int = 0,
    first_row: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Which events happen: a bool tensor (steps, rows, units), each True with probability `rate`.

    Steps count from `first_step` and rows from `first_row`, so any part of a larger mask can be drawn alone.
    The rate is rounded to a multiple of 2**-32.
    """
    events = torch.empty(steps, rows, units, dtype=torch.bool, device=device)
    threshold = round(rate * 2**32) - 2**31
    if not -(2**31) < threshold < 2**31:
        return events.fill_(threshold >= 2**31)
    flat = events.view(steps * rows, units)
    for part, x in _hashes(key, layer, kind, steps, rows, units, first_step, first_row, events.device):
        torch.lt(x, threshold, out=flat[part])
    return events


def uniform(
    key: int,
    layer: int,
    kind: int,
    steps: int,
    rows: int,
    units: int,
    *,
    first_step: int = 0,
    first_row: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Numbers in [0, 1), float64 (steps, rows, units): `bernoulli` of the same integers is where they are below its
    rate."""
    numbers = torch.empty(steps, rows, units, dtype=torch.float64, device=device)
    flat = numbers.view(steps * rows, units)
    for part, x in _hashes(key, layer, kind, steps, rows, units, first_step, first_row, numbers.device):
        flat[part] = x
    return numbers.add_(2.0**31).div_(2.0**32)


def keep_scale(events: Tensor, rate: float, dtype: torch.dtype) -> Tensor:
    """The factors of inverted dropout: 0 where an event happened, else 1 / (1 - rate)."""
    return (~events).to(dtype).mul_(1.0 / (1.0 - rate) if rate < 1.0 else 0.0)


def _hashes(
    key: int,
    layer: int,
    kind: int,
    steps: int,
    rows: int,
    units: int,
    first_step: int,
    first_row: int,
    device: torch.device,
) -> Iterator[tuple[slice, Tensor]]:
    """The word of every element, int32 (lines, units), for some lines (steps · rows) at a time."""
    step = torch.arange(first_step, first_step + steps, dtype=torch.int32, device=device).unsqueeze(1)
    row = torch.arange(first_row, first_row + rows, dtype=torch.int32, device=device)
    a, b = (_row_words(word, step, row).reshape(-1, 1) for word in call_words(key, layer, kind))
    unit = torch.arange(units, dtype=torch.int32, device=device) * signed(_GOLDEN)
    count = steps * rows
    lines = max(1, _BLOCK // max(1, units)) if device.type == "cpu" else max(1, count)
    for begin in range(0, count, lines):
        part = slice(begin, begin + lines)
        x = a[part] ^ unit
        x = _shift_xor(x, 16).mul_(signed(_FIRST)).bitwise_xor_(b[part])
        yield part, _shift_xor(x, 15).mul_(signed(_SECOND))


def call_words(key: int, layer: int, kind: int) -> tuple[int, int]:
    """Both words of the chain after key, layer and kind: what a kernel starts from that goes on with step and row."""
    first, second = 0x243F6A88, 0x85A308D3
    for value in (key & 0xFFFFFFFF, key >> 32, layer, kind):
        first, second = (_mix_int((word ^ value) + _GOLDEN) for word in (first, second))
    return first, second


def _row_words(word: int, step: Tensor, row: Tensor) -> Tensor:
    """The key word of every step and row, (steps, rows) int32."""
    by_step = _mix((step ^ signed(word)) + signed(_GOLDEN))
    return _mix((by_step ^ row) + signed(_GOLDEN))


def _mix_int(x: int) -> int:
    x &= 0xFFFFFFFF
    x = (x ^ x >> 16) * _FIRST & 0xFFFFFFFF
    x = (x ^ x >> 15) * _SECOND & 0xFFFFFFFF
    return x ^ x >> 16


def _mix(x: Tensor) -> Tensor:
    x = _shift_xor(x, 16).mul_(signed(_FIRST))
    x = _shift_xor(x, 15).mul_(signed(_SECOND))
    return _shift_xor(x, 16)


def _shift_xor(x: Tensor, bits: int) -> Tensor:
    """x ^= x >> bits on unsigned words: int32 shifts drag the sign in, which the mask takes off again."""
    return x.bitwise_xor_((x >> bits).bitwise_and_((1 << 32 - bits) - 1))


def signed(word: int) -> int:
    """The int32 with the bits of an unsigned word."""
    return (word & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
