"""Masks of a sequence that is read in parts, and what `watch` tells of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import lsseq.nn as lnn
from lsseq.nn.random import draw_key, first_row, part, watch
from lsseq.nn.state import flatten_state

H, T, B = 6, 11, 4
SEED = 2**63 + 12345

Make = Callable[[], nn.Module]


def lstm(**options: Any) -> nn.Module:
    return lnn.LSTM(H, H, dtype=torch.float64, **options)


def residual(noise: Any) -> nn.Module:
    chosen = {"swapout" if isinstance(noise, lnn.Swapout) else "stochastic_depth": noise}
    return lnn.ResidualStack([lstm(zoneout_cell=0.3) for _ in range(3)], **chosen)


def fractal(**options: Any) -> nn.Module:
    return lnn.FractalStack(lambda: lstm(zoneout_hidden=0.3), 2, drop_path=lnn.DropPath(0.4, **options))


def fast_slow(kind: Callable[..., nn.Module] = lstm, mask: Any = "step", **options: Any) -> nn.Module:
    dropout = lnn.Dropout(0.3, mask)
    return lnn.FastSlow([kind(**options) for _ in range(3)], kind(**options), dropout=dropout).double()


def gru() -> nn.Module:
    return lnn.GRU(H, H, dtype=torch.float64, zoneout_hidden=0.5)


STEPS = lnn.RandomSteps(2, 4)
OF_ROWS: dict[str, Make] = {
    "zoneout": lambda: lstm(zoneout_cell=0.5, zoneout_hidden=0.2, recurrent_dropout=0.2),
    "zoneout reference": lambda: lstm(zoneout_cell=0.5, recurrent_dropout=0.2, backend="reference"),
    "dropout a step": lambda: lstm(num_layers=2, dropout=0.4),
    "dropout a sequence": lambda: lstm(num_layers=2, dropout=0.4, dropout_mask="sequence"),
    "gru": gru,
    "rhn": lambda: lnn.RHN(H, H, dtype=torch.float64, zoneout_hidden=0.3, recurrent_dropout=0.2, state_dropout=0.3),
    "swapout": lambda: residual(lnn.Swapout()),
    "swapout a step": lambda: residual(lnn.Swapout(over="step")),
    "stochastic depth": lambda: residual(lnn.StochasticDepth(0.3)),
    "stochastic depth a step": lambda: residual(lnn.StochasticDepth(0.3, over="step")),
    "stochastic depth a step, frozen": lambda: residual(lnn.StochasticDepth(0.3, over="step", state="freeze")),
    "one column": lambda: fractal(global_share=1.0),
    "columns by themselves": lambda: fractal(global_share=0.0),
    "deep transition": lambda: lnn.DeepTransition(lstm(zoneout_cell=0.5), 3),
    "fast-slow": lambda: fast_slow(zoneout_cell=0.5, recurrent_dropout=0.2),
    "fast-slow reference": lambda: fast_slow(mask="sequence", zoneout_hidden=0.5, backend="reference"),
    "fast-slow of others": lambda: fast_slow(gru),
    "fast-slow of stacks": lambda: fast_slow(lambda: lnn.DeepTransition(fast_slow(zoneout_cell=0.5), 2), "sequence"),
}
OF_THE_CALL: dict[str, Make] = {
    "weight dropout": lambda: lstm(weight_dropout=0.4),
    "stochastic depth of the batch": lambda: residual(lnn.StochasticDepth(0.3, over="batch", state="freeze")),
    "fast-slow with weight dropout": lambda: fast_slow(weight_dropout=0.4, backend="reference"),
    "drop-path": fractal,
    "drop-path of the batch": lambda: fractal(global_share=1.0, over="batch"),
    "random layers": lambda: lnn.TiedStack([lstm(zoneout_cell=0.5)], 3, random_steps=STEPS, state="freeze"),
    "random steps": lambda: lnn.DeepTransition(lstm(zoneout_cell=0.5), 3, random_steps=STEPS),
    "random micro-layers": lambda: lnn.RHN(H, H, 3, dtype=torch.float64, tied=True, random_steps=STEPS),
}


@pytest.mark.parametrize("name", [*OF_ROWS, *OF_THE_CALL])
def test_parts_have_the_masks_of_the_whole(name: str) -> None:
    torch.manual_seed(1)
    layer, x = (OF_ROWS | OF_THE_CALL)[name](), torch.randn(T, B, H, dtype=torch.float64)
    with torch.no_grad():
        with part(SEED, 0):
            whole, last = layer(x)
        state, outputs = None, []
        for begin, end in ((0, 4), (4, 5), (5, T)):
            with part(SEED, begin):
                output, state = layer(x[begin:end], state)
            outputs.append(output)
        with part(SEED + 1, 0):
            other, _ = layer(x)
    torch.testing.assert_close(torch.cat(outputs), whole, rtol=1e-12, atol=1e-12)
    for one, of_whole in zip(flatten_state(state).values(), flatten_state(last).values(), strict=True):
        torch.testing.assert_close(one, of_whole, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(other, whole)


@pytest.mark.parametrize("zoneout", [0.0, 0.4])
def test_parts_of_a_hierarchical_lstm(zoneout: float) -> None:
    torch.manual_seed(1)
    layer = lnn.HMLSTM(H, H, 2, dtype=torch.float64, zoneout_cell=zoneout, zoneout_hidden=zoneout, detector="sample")
    x = torch.randn(T, B, H, dtype=torch.float64)
    with torch.no_grad():
        with part(SEED, 0):
            whole = layer(x)
        state, outputs = None, []
        for begin, end in ((0, 4), (4, T)):
            with part(SEED, begin):
                found = layer(x[begin:end], state)
            state = found.state
            outputs.append(found.outputs[-1])
    torch.testing.assert_close(torch.cat(outputs), whole.outputs[-1], rtol=1e-12, atol=1e-12)


def test_dropout_of_a_sequence_and_of_words_in_parts() -> None:
    x, weight, tokens = torch.ones(T, B, H), torch.ones(9, H), torch.arange(9).view(9, 1)
    for mask in ("step", "sequence"):
        layer = lnn.Dropout(0.5, mask)  # type: ignore[arg-type]
        with part(SEED, 0):
            whole = layer(x)
        with part(SEED, 7):
            assert torch.equal(layer(x[7:]), whole[7:])
    words = lnn.EmbeddingDropout(0.5)
    with part(SEED, 0):
        whole = words(weight, tokens)
    with part(SEED, 5):
        assert torch.equal(words(weight, tokens[5:]), whole[5:])


@pytest.mark.parametrize("name", [*OF_ROWS, *OF_THE_CALL])
def test_watch_tells_what_rows_share(name: str) -> None:
    torch.manual_seed(1)
    layer, x = (OF_ROWS | OF_THE_CALL)[name](), torch.randn(T, 1, H, dtype=torch.float64)
    with watch() as seen:
        layer(x)
    assert (seen.masks, seen.of_the_call) == (True, name in OF_THE_CALL)
    if name in OF_ROWS:  # a row of its own draws the same elsewhere
        with torch.no_grad():
            with part(SEED, 0):
                whole, _ = layer(x.expand(T, B, H).contiguous())
            with part(SEED, 0), first_row(2):
                row, _ = layer(x)
        torch.testing.assert_close(row[:, 0], whole[:, 2], rtol=1e-12, atol=1e-12)


def test_watch_sees_nothing_where_nothing_is_drawn() -> None:
    layer, x = lstm(zoneout_cell=0.5), torch.randn(T, 1, H, dtype=torch.float64)
    with watch() as seen:
        layer.eval()(x)
    assert not seen.masks


def test_parts_leave_the_default_generator_alone() -> None:
    torch.manual_seed(3)
    keys = [draw_key() for _ in range(2)]
    torch.manual_seed(3)
    first = draw_key()
    with part(SEED, 3):
        draw_key()
    assert [first, draw_key()] == keys
