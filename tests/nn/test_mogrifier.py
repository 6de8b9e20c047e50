"""The Mogrifier LSTM: its equations, the LSTM that it is without rounds, its options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.random import first_row

T, B, I, H = 4, 3, 4, 5


def made(rounds: int = 5, **options: Any) -> lnn.MogrifierLSTM:
    torch.manual_seed(0)
    return lnn.MogrifierLSTM(I, H, rounds, **options).double()


def given() -> tuple[Tensor, tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return torch.randn(T, B, I).double(), (torch.randn(1, B, H).double(), torch.randn(1, B, H).double())


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"zoneout_cell": 0.3, "zoneout_hidden": 0.2}, {"recurrent_dropout": 0.3}],
    ids=str,
)
def test_without_rounds_it_is_an_lstm(options: dict[str, Any]) -> None:
    model, (x, state) = made(0, **options), given()
    lstm = lnn.LSTM(I, H, backend="reference", **options).double()
    lstm.load_state_dict(model.state_dict())
    for training in (True, False):
        model.train(training)
        lstm.train(training)
        torch.manual_seed(5)
        output, after = model(x, state)
        torch.manual_seed(5)
        expected, expected_after = lstm(x, state)
        close(output, expected)
        for a, b in zip(after, expected_after, strict=True):
            close(a, b)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_the_equations_of_the_paper(rounds: int, rank: int | None) -> None:
    model, (x, (h, c)) = made(rounds, rank=rank), given()
    lstm = lnn.LSTM(I, H).double()
    lstm.load_state_dict({name: value for name, value in model.state_dict().items() if name.endswith("_l0")})
    matrices = [
        getattr(model, f"gate_{i}")
        if rank is None
        else getattr(model, f"gate_{i}_out") @ getattr(model, f"gate_{i}_in")
        for i in range(1, rounds + 1)
    ]
    outputs, state = [], (h, c)
    for x_t in x.split(1):
        both = {-1: x_t, 0: state[0]}
        for i in range(1, rounds + 1):
            both[i] = 2 * torch.sigmoid(both[i - 1] @ matrices[i - 1].t()) * both[i - 2]
        last_x = both[max(i for i in both if i % 2)]
        last_h = both[max(i for i in both if i % 2 == 0)]
        output, state = lstm(last_x, (last_h, state[1]))
        outputs.append(output)
    found, after = model(x, (h, c))
    close(found, torch.cat(outputs))
    close(after[1], state[1])
    close(torch.cat([model(x[:2])[0], model(x[2:], model(x[:2])[1])[0]]), model(x)[0])


def test_zoneout_keeps_the_state_itself_and_not_what_was_gated() -> None:
    model, (x, state) = made(zoneout_cell=1.0, zoneout_hidden=1.0), given()
    output, (h, c) = model(x, state)
    assert torch.equal(output, state[0].expand(T, B, H))
    assert torch.equal(h, state[0])
    assert torch.equal(c, state[1])


def test_gradients() -> None:
    model, (x, (h, c)) = made(3, rank=2), given()

    def total(x: Tensor, h: Tensor, c: Tensor, *_: Tensor) -> Tensor:
        return model(x, (h, c))[0].square().sum()

    inputs = [part.requires_grad_() for part in (x[:2], h, c)]
    assert torch.autograd.gradcheck(total, (*inputs, *model.parameters()))


def test_masks_are_those_of_the_rows_of_the_whole_batch() -> None:
    model, (x, _) = made(zoneout_cell=0.5, zoneout_hidden=0.5, recurrent_dropout=0.3), given()
    torch.manual_seed(5)
    whole = model(x)[0]
    torch.manual_seed(5)
    with first_row(1):
        close(model(x[:, 1:])[0], whole[:, 1:])


def test_parameters() -> None:
    lstm = 4 * H * (I + H + 2)
    assert sum(p.numel() for p in made(5).parameters()) == lstm + 5 * I * H
    assert sum(p.numel() for p in made(5, rank=2).parameters()) == lstm + 5 * 2 * (I + H)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": -1}, "expected positive sizes"),
        ({"rank": 5}, r"rank should be in range \[1, 4\], got 5"),
        ({"zoneout_cell": 2.0}, "zoneout_cell should be a number"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lnn.MogrifierLSTM(I, H, **options)


def test_shapes_that_are_wrong() -> None:
    x, (h, c) = given()
    with pytest.raises(ValueError, match=r"expected an input \(T, B, 4\) with T > 0, got \(4, 3, 3\)"):
        made()(x[..., 1:])
    with pytest.raises(ValueError, match=r"expected a state \(1, 3, 5\), got"):
        made()(x, (h, c[:, 1:]))


@pytest.mark.parametrize("rounds", [0, 2])
def test_another_number_of_states_is_refused(rounds: int) -> None:
    x, (h, c) = given()
    for state in (h, (h,), (h, c, c)):
        with pytest.raises(ValueError, match=r"expected a state \(h, c\), \(1, B, 5\) each"):
            made(rounds)(x, state)


@pytest.mark.parametrize("rounds", [0, 2])
def test_states_under_autocast_have_the_format_of_the_weights(rounds: int) -> None:
    model, x = made(rounds, zoneout_cell=0.1, recurrent_dropout=0.1).float(), given()[0].bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = model(x)
        output, again = model(x, state)
    assert {part.dtype for part in (output, *state, *again)} == {torch.float32}


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_an_input_of_another_dtype_is_refused(backend: Any) -> None:
    with pytest.raises(ValueError, match=r"parameters of one dtype, got torch\.float32, torch\.float64"):
        made(backend=backend)(given()[0].float())
