"""The fast-slow stack: its equations, with any cells, and its state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.nn.state import detach_state, flatten_state

T, B, I, H, S = 4, 3, 2, 5, 6


def made(fast: int = 2, kind: Callable[..., nn.Module] = lnn.LSTM, dropout: nn.Module | None = None) -> lnn.FastSlow:
    torch.manual_seed(0)
    cells = [kind(size, H) for size in [I, S, *[1] * (fast - 2)]]
    return lnn.FastSlow(cells, kind(H, S), dropout=dropout).double()


def x_of() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(T, B, I).double()


def zeros(units: int) -> tuple[Tensor, Tensor]:
    return (torch.zeros(1, B, units).double(),) * 2


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fast", [2, 4])
def test_the_equations_of_the_paper(fast: int) -> None:
    """With torch's LSTM cells in the order of the paper's figure."""
    model, x = made(fast), x_of()

    def cell(layer: nn.Module, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        weights = [getattr(layer, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        h, c = torch._VF.lstm_cell(x, state, *weights)  # type: ignore[attr-defined]
        return h, c

    quick = (torch.zeros(B, H).double(),) * 2
    slow = (torch.zeros(B, S).double(),) * 2
    outputs = []
    for x_t in x:
        quick = cell(model.fast[0], x_t, quick)
        slow = cell(model.slow, quick[0], slow)
        quick = cell(model.fast[1], slow[0], quick)
        for further in model.fast[2:]:
            quick = cell(further, torch.zeros(B, 1).double(), quick)
        outputs.append(quick[0])
    output, state = model(x)
    close(output, torch.stack(outputs))
    for found, expected in zip(flatten_state(state).values(), (*quick, *slow), strict=True):
        close(found[0], expected)


@pytest.mark.parametrize("kind", [lnn.LSTM, lnn.GRU, lnn.RHN])
def test_windows_of_a_sequence_are_the_sequence(kind: Callable[..., nn.Module]) -> None:
    model, x = made(3, kind), x_of()
    whole, _ = model(x)
    first, state = model(x[:2])
    close(torch.cat([first, model(x[2:], detach_state(state))[0]]), whole)
    assert (model.input_size, model.hidden_size) == (I, H)


def test_dropout_cuts_the_way_over_the_slow_cell() -> None:
    model, x = made(dropout=lnn.Dropout(1.0)), x_of()
    silent = made()
    with torch.no_grad():
        for cell in (silent.slow, silent.fast[1]):
            cell.weight_ih_l0.zero_()  # type: ignore[union-attr, operator]
    close(model(x)[0], silent(x)[0])
    close(model.eval()(x)[0], made()(x)[0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: lnn.FastSlow([lnn.GRU(I, H)], lnn.GRU(H, S)), "at least two fast cells, got 1"),
        (lambda: lnn.FastSlow([lnn.GRU(I, H), lnn.GRU(S, H)], lnn.GRU(H, S, batch_first=True)), "batch_first=True"),
        (lambda: lnn.FastSlow([lnn.GRU(I, H, bidirectional=True)] * 2, lnn.GRU(H, S)), r"got GRU\(.*bidirectional"),
        (lambda: lnn.FastSlow([lnn.GRU(I, H), lnn.GRU(H, H)], lnn.GRU(H, S)), r"reads the 6 slow units; got"),
        (lambda: lnn.FastSlow([lnn.GRU(I, H), lnn.LSTM(S, H)], lnn.GRU(H, S)), "whose states are alike"),
        (lambda: lnn.FastSlow([lnn.LSTM(I, H), lnn.LSTM(S, H, 2)], lnn.LSTM(H, S)), "whose states are alike"),
        (lambda: made()(x_of(), (zeros(H)[:1], zeros(S))), r"LSTM: expected a state of the tensors h \(1, B, 5\), c"),
        (lambda: made()(x_of(), (zeros(H), zeros(S) * 2)), r"LSTM: expected a state of the tensors h \(1, B, 6\), c"),
        (lambda: made()(x_of()[..., 1:]), r"expected an input \(T, B, 2\) with T > 0, got \(4, 3, 1\)"),
    ],
)
def test_requests_that_are_wrong(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
