"""The masks that the CPU kernels draw: the documented events, read off outputs that show them."""

from __future__ import annotations

import math

import pytest
import torch
from parity import FULL, Arguments, data, make, needs_kernels, results
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.random import Kind, bernoulli, draw_key, first_row

pytestmark = needs_kernels

F64 = torch.float64
each_rate = pytest.mark.parametrize("rate", [0.05, 0.5, 0.93])
each_type = pytest.mark.parametrize("dtype", [torch.float32, F64], ids=["float32", "float64"])


def next_key(seed: int) -> int:
    """The key of the call after `torch.manual_seed(seed)`, which leaves the generator at that seed."""
    torch.manual_seed(seed)
    key = draw_key()
    torch.manual_seed(seed)
    return key


def kept_units(rate: float, steps: int, rows: int, units: int, dtype: torch.dtype = F64) -> Tensor:
    """Which units kept their old value (steps, rows, units): the new one of step t is t + 1, in every unit."""
    with torch.random.fork_rng(), torch.no_grad():
        layer = lnn.RNN(1, units, nonlinearity="relu", bias=False, zoneout_hidden=rate, backend="fused", dtype=dtype)
        layer.weight_ih_l0.fill_(1.0)
        layer.weight_hh_l0.zero_()
    counts = torch.arange(1, steps + 1, dtype=dtype)
    output, _ = layer(counts.view(-1, 1, 1).expand(-1, rows, 1))
    return output != counts.view(-1, 1, 1)


@each_type
@each_rate
@pytest.mark.parametrize("size", [(1, 1, 1), (9, 5, 37), (3, 2, 130)], ids=str)
def test_zoneout_of_the_output(rate: float, size: tuple[int, int, int], dtype: torch.dtype) -> None:
    key = next_key(7)
    expected = bernoulli(key, 0, Kind.ZONEOUT_HIDDEN, rate, *size)
    assert torch.equal(kept_units(rate, *size, dtype=dtype), expected)


@each_type
@each_rate
def test_zoneout_of_the_cell(rate: float, dtype: torch.dtype) -> None:
    # Forget gate 0, input gate 1: the new cell of a step is tanh of that step's input, another one each step.
    T, B, H = 6, 5, 37
    layer = lnn.LSTM(1, H, zoneout_cell=rate, backend="fused", dtype=dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_ih_l0[2 * H : 3 * H] = 1.0
        layer.bias_ih_l0.copy_(torch.tensor([50.0, -50.0, 0.0, 50.0]).repeat_interleave(H))
    inputs = torch.arange(1, T + 1, dtype=dtype) / 10
    key = next_key(7)
    _, (_, c) = layer(inputs.view(-1, 1, 1).expand(-1, B, 1))
    expected = torch.zeros(B, H, dtype=dtype)
    for new, kept in zip(inputs.tanh(), bernoulli(key, 0, Kind.ZONEOUT_CELL, rate, T, B, H), strict=True):
        expected = torch.where(kept, expected, new)
    torch.testing.assert_close(c[0], expected, rtol=1e-6, atol=0)


@each_type
@each_rate
@pytest.mark.parametrize("reset", ["after", "before"])
def test_recurrent_dropout(rate: float, reset: str, dtype: torch.dtype) -> None:
    # Update gate 0, no recurrence: the output is the candidate, dropped and rescaled.
    T, B, H = 6, 5, 37
    layer = lnn.GRU(1, H, recurrent_dropout=rate, reset=reset, backend="fused", dtype=dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_ih_l0.copy_(torch.tensor([0.0, -200.0, 1.0]).repeat_interleave(H))
    key = next_key(7)
    output, _ = layer(torch.zeros(T, B, 1, dtype=dtype))
    dropped = bernoulli(key, 0, Kind.RECURRENT_DROPOUT, rate, T, B, H)
    torch.testing.assert_close(output, ~dropped * math.tanh(1.0) / (1 - rate), rtol=1e-6, atol=1e-30, check_dtype=False)


@each_rate
def test_events_have_the_rate_and_are_independent(rate: float) -> None:
    torch.manual_seed(11)
    kept = kept_units(rate, 40, 50, 100).double() - rate
    variance = rate * (1 - rate)
    assert abs(kept.mean()) < 4 * math.sqrt(variance / kept.numel())
    for dim in range(3):
        for lag in (1, 2, 16):
            a, b = kept.narrow(dim, lag, kept.shape[dim] - lag), kept.narrow(dim, 0, kept.shape[dim] - lag)
            assert abs((a * b).sum()) < 4.5 * variance * math.sqrt(a.numel())


def test_events_follow_the_generator() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = kept_units(0.5, 4, 5, 37), kept_units(0.5, 4, 5, 37)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(kept_units(0.5, 4, 5, 37), first)
    torch.manual_seed(6)
    assert not torch.equal(kept_units(0.5, 4, 5, 37), first)


@pytest.mark.parametrize(("cell", "options"), FULL, ids=str)
def test_shards_of_a_batch_give_what_the_whole_gives(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 19, num_layers=2, dropout=0.3, **options)
    x, states = data(layer, 6, 7)

    def squares(output: Tensor, last: tuple[Tensor, ...]) -> Tensor:
        return output.square().sum() + last[-1].sin().sum()

    whole = results(layer, "fused", x, states, squares)
    parts = []
    for begin, end in ((0, 2), (2, 7)):
        with first_row(begin):
            own = tuple(state[:, begin:end] for state in states)
            parts.append(results(layer, "fused", x[:, begin:end], own, squares))
    names = {name for name, _ in layer.named_parameters()}
    for name, expected in whole.items():
        values = [part[name] for part in parts]
        together = values[0] + values[1] if name[2:] in names else torch.cat(values, dim=1)
        torch.testing.assert_close(together, expected, rtol=1e-10, atol=1e-12)
