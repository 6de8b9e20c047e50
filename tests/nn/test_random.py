"""The mask engine against an implementation in plain integers and pinned words, and the statistics of its masks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lsseq.nn.random import Draws, Kind, Steps, bernoulli, draw_key, first_row, keep_scale, uniform

KEY = 0x1234567890ABCDEF & (2**63 - 1)
WORD = 0xFFFFFFFF


def mix(x: int) -> int:
    x ^= x >> 16
    x = x * 0x7FEB352D & WORD
    x ^= x >> 15
    x = x * 0x846CA68B & WORD
    return x ^ x >> 16


def word(key: int, layer: int, kind: int, step: int, row: int, unit: int) -> int:
    """The documented function, as a signed integer of 32 bits."""
    a, b = 0x243F6A88, 0x85A308D3
    for value in (key & WORD, key >> 32, layer, kind, step, row):
        a = mix((a ^ value) + 0x9E3779B9 & WORD)
        b = mix((b ^ value) + 0x9E3779B9 & WORD)
    x = a ^ (unit * 0x9E3779B9 & WORD)
    x ^= x >> 16
    x = x * 0x7FEB352D & WORD
    x ^= b
    x ^= x >> 15
    x = x * 0x846CA68B & WORD
    return x - 2**32 if x >= 2**31 else x


def correlation(a: Tensor, b: Tensor) -> float:
    """Correlation in units of its standard error, for independent fair bits."""
    return float(((a.double() - 0.5) * (b.double() - 0.5)).sum() * 4 / math.sqrt(a.numel()))


@pytest.mark.parametrize(
    ("rate", "shape"), [(0.5, (3, 2, 7)), (0.05, (1, 5, 40)), (0.9999, (4, 1, 33)), (2**-20, (2, 2, 2))]
)
@pytest.mark.parametrize(
    ("key", "layer", "kind"), [(KEY, 0, Kind.ZONEOUT_CELL), (0, 3, Kind.WEIGHT_DROPOUT), (2**63 - 1, 1, 5)]
)
def test_equals_the_documented_function(
    rate: float, shape: tuple[int, int, int], key: int, layer: int, kind: int
) -> None:
    steps, rows, units = shape
    threshold = round(rate * 2**32) - 2**31
    expected = [
        [[word(key, layer, kind, t, b, u) < threshold for u in range(units)] for b in range(rows)] for t in range(steps)
    ]
    assert bernoulli(key, layer, kind, rate, *shape).tolist() == expected


def test_pinned_words() -> None:
    # What a kernel in another language must reproduce: (layer, kind, step, row, unit) -> word, for two keys.
    places = [(0, 0, 0, 0, 0), (0, 0, 0, 0, 1), (0, 1, 0, 0, 0), (2, 3, 5, 7, 11), (1, 6, 99, 63, 999)]
    assert [word(KEY, *place) & WORD for place in places] == [
        0xC10A95AB,
        0x99F0BFA0,
        0xEFD50622,
        0x2E779251,
        0x0F518271,
    ]
    assert [word(0, *place) & WORD for place in places] == [0x812C3259, 0x071D4F27, 0xE6F5011C, 0x996FE2C9, 0x0DF68481]


def test_the_threshold_is_compared_on_all_bits() -> None:
    value = word(KEY, 0, 0, 0, 0, 0)
    exact = (value + 2**31) / 2**32  # the largest rate at which this unit has no event
    assert not bernoulli(KEY, 0, 0, exact, 1, 1, 1).item()
    assert bernoulli(KEY, 0, 0, exact + 2**-32, 1, 1, 1).item()


def test_rates_zero_and_one_are_exact() -> None:
    assert not bernoulli(KEY, 0, 0, 0.0, 50, 20, 100).any()
    assert bernoulli(KEY, 0, 0, 1.0, 50, 20, 100).all()


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.95])
def test_rate(rate: float) -> None:
    for kind in Kind:
        mask = bernoulli(KEY, 0, kind, rate, 40, 50, 100).double()
        assert abs(mask.mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / mask.numel())
        for dims, count in (((0, 1), 2000), ((0, 2), 4000), ((1, 2), 5000)):
            # No unit, row or step has a rate of its own.
            z = (mask.mean(dims) - rate) / math.sqrt(rate * (1 - rate) / count)
            assert z.abs().max() < 5
            assert abs(z.square().mean() - 1) < 5 * math.sqrt(2 / len(z))


def test_masks_of_different_places_are_independent() -> None:
    mask = bernoulli(KEY, 0, 0, 0.5, 60, 50, 100)
    for lag in (1, 2, 3, 16, 32):
        assert abs(correlation(mask[lag:], mask[:-lag])) < 4.5
        assert abs(correlation(mask[:, lag:], mask[:, :-lag])) < 4.5
        assert abs(correlation(mask[:, :, lag:], mask[:, :, :-lag])) < 4.5
    others = [bernoulli(KEY, layer, kind, 0.5, 60, 50, 100) for layer, kind in ((1, 0), (0, 1), (2, 0), (0, 2), (1, 1))]
    others += [bernoulli(key, 0, 0, 0.5, 60, 50, 100) for key in (KEY + 1, KEY + 2**32, KEY ^ 2**62)]
    for other in others:
        assert abs(correlation(mask, other)) < 4.5


def test_units_of_one_row_make_all_patterns() -> None:
    # Eight neighbouring units as a byte: each of the 256 patterns as often as chance has it.
    mask = bernoulli(KEY, 0, 0, 0.5, 100, 64, 256).reshape(-1, 8)
    counts = torch.bincount((mask.long() << torch.arange(8)).sum(1), minlength=256).double()
    expected = len(mask) / 256
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)


@pytest.mark.parametrize("units", [1, 3, 7, 100, 257])
def test_parts_of_a_mask_drawn_alone(units: int) -> None:
    whole = bernoulli(KEY, 1, 2, 0.4, 11, 9, units)
    parts = [bernoulli(KEY, 1, 2, 0.4, 4, 9, units), bernoulli(KEY, 1, 2, 0.4, 7, 9, units, first_step=4)]
    assert torch.equal(torch.cat(parts), whole)
    shards = [bernoulli(KEY, 1, 2, 0.4, 11, 4, units), bernoulli(KEY, 1, 2, 0.4, 11, 5, units, first_row=4)]
    assert torch.equal(torch.cat(shards, dim=1), whole)
    assert torch.equal(bernoulli(KEY, 1, 2, 0.4, 11, 9, units + 5)[:, :, :units], whole)


def test_more_elements_than_are_hashed_at_once() -> None:
    whole = bernoulli(KEY, 0, 0, 0.5, 3, 50, 1001)
    for t in range(3):
        assert torch.equal(bernoulli(KEY, 0, 0, 0.5, 1, 50, 1001, first_step=t)[0], whole[t])


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 0, 3), (2, 3, 0)])
def test_empty_masks(shape: tuple[int, int, int]) -> None:
    assert bernoulli(KEY, 0, 0, 0.5, *shape).shape == shape


def test_first_row_says_where_a_shard_begins() -> None:
    whole = Draws.here(KEY).mask(Kind.DROPOUT, 0.5, (2, 10, 8))
    with first_row(6):
        shard = Draws.here(KEY).mask(Kind.DROPOUT, 0.5, (2, 4, 8))
    assert torch.equal(shard, whole[:, 6:])
    assert Draws.here(KEY).first_row == 0


def test_keys_come_from_the_default_generator() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    keys = [draw_key() for _ in range(3)]
    assert len(set(keys)) == 3
    assert all(0 <= key < 2**63 for key in keys)
    torch.set_rng_state(state)
    assert [draw_key() for _ in range(3)] == keys
    torch.manual_seed(6)
    assert draw_key() != keys[0]


def test_the_steps_of_a_call_share_its_keys() -> None:
    torch.manual_seed(5)
    keys = [draw_key() for _ in range(4)]
    torch.manual_seed(5)
    for first in (0, 2):
        steps, found = Steps(), []
        for t in range(3):
            with steps.step(t):
                found.append([draw_key(), draw_key()])
                assert Draws.here(KEY).first_step == t
        assert found == [keys[first : first + 2]] * 3
    torch.manual_seed(5)
    outer = Steps()
    for t in range(2):
        with outer.step(10 * t):
            inner = Steps()
            for within in range(2):
                with inner.step(within):
                    assert (draw_key(), Draws.here(KEY).first_step) == (keys[0], 10 * t + within)
            assert draw_key() == keys[1]
    assert draw_key() == keys[2]


def test_keep_scale() -> None:
    events = torch.tensor([True, False])
    assert keep_scale(events, 0.2, torch.float64).tolist() == [0.0, 1.25]
    assert keep_scale(torch.tensor([True]), 1.0, torch.float32).tolist() == [0.0]


def test_numbers_are_those_whose_events_are_drawn() -> None:
    arguments = (123456789, 1, Kind.BOUNDARY, 40, 30, 7)
    numbers = uniform(*arguments, first_step=3, first_row=5)
    assert numbers.dtype == torch.float64
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert abs(float(numbers.mean()) - 0.5) < 4 / math.sqrt(12 * numbers.numel())
    for rate in (0.0, 0.2, 0.9):
        key, layer, kind, *shape = arguments
        assert torch.equal(numbers < rate, bernoulli(key, layer, kind, rate, *shape, first_step=3, first_row=5))
