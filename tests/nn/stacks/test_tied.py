"""Tied stacks and deep transitions: which cell is where, what each virtual layer has of its own, numbers of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.nn.random import Draws, draw_key
from lsseq.nn.state import State, detach_state, flatten_state

T, B, H = 5, 3, 4


def tied(steps: int, cells: int = 1, kind: Callable[..., nn.Module] = lnn.GRU, **options: Any) -> lnn.TiedStack:
    torch.manual_seed(0)
    made = lnn.TiedStack([kind(H, H) for _ in range(cells)], steps, **options).double()
    for name, parameter in made.named_parameters():
        if name.startswith(("norms", "alphas", "differences")):
            nn.init.normal_(parameter, 1.0, 0.4)
    return made


def x_of() -> Tensor:
    torch.manual_seed(7)
    return torch.randn(T, B, H).double()


def flat(state: State) -> list[Tensor]:
    return list(flatten_state(state).values())


def by_hand(made: lnn.TiedStack, x: Tensor, order: list[int], alphas: list[float]) -> Tensor:
    """The stack whose layers are these cells."""
    u = x
    for k, (cell, alpha) in enumerate(zip(order, alphas, strict=True)):
        own = min(k, made.depth - 1)
        u = u + made.cells[cell](made.norms[own](u + alpha * x))[0]
    return u


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# --------------------------------------------------------------------------------------------------------- tied stacks


@pytest.mark.parametrize("injection", ["none", "added", "learned"])
def test_one_virtual_layer_is_a_residual_layer(injection: str) -> None:
    made, x = tied(1, injection=injection, kind=lnn.LSTM), x_of()
    torch.manual_seed(0)
    other = lnn.ResidualStack([lnn.LSTM(H, H)]).double()
    other.norms.load_state_dict(made.norms.state_dict())
    a, b = made(x), other(x)
    assert all(torch.equal(p, q) for p, q in zip(flat(a), flat(b), strict=True))


@pytest.mark.parametrize(
    ("pattern", "cells", "order"),
    [
        ("cycle", 1, [0, 0, 0, 0]),
        ("cycle", 2, [0, 1, 0, 1]),
        ("sequence", 2, [0, 0, 1, 1]),
        ("sequence", 4, [0, 1, 2, 3]),
        ("middle", 3, [0, 1, 1, 2]),
        ("middle", 4, [0, 1, 2, 3]),
    ],
    ids=str,
)
def test_patterns(pattern: str, cells: int, order: list[int]) -> None:
    made, x = tied(4, cells, pattern=pattern), x_of()
    close(made(x)[0], by_hand(made, x, order, [0, 1, 1, 1]))
    assert len(made(x)[1]) == 4


def test_all_cells_of_their_own_are_a_residual_stack() -> None:
    made, x = tied(3, 3, injection="none"), x_of()
    other = lnn.ResidualStack(list(made.cells)).double()
    other.norms.load_state_dict(made.norms.state_dict())
    assert torch.equal(made(x)[0], other(x)[0])


def test_injection() -> None:
    x = x_of()
    made = tied(3, injection="none")
    close(made(x)[0], by_hand(made, x, [0, 0, 0], [0, 0, 0]))
    made = tied(3, injection="learned")
    assert made.alphas is not None
    close(made(x)[0], by_hand(made, x, [0, 0, 0], [0, *made.alphas.tolist()]))
    assert (lnn.TiedStack([lnn.GRU(H, H)], 3, injection="learned").alphas == 1).all()


def test_each_virtual_layer_has_a_state_of_its_own() -> None:
    made, x = tied(3, kind=lnn.LSTM), x_of()
    whole, last = made(x)
    first, state = made(x[:2])
    second, state = made(x[2:], detach_state(state))
    close(torch.cat([first, second]), whole)
    for a, b in zip(flat(state), flat(last), strict=True):
        close(a, b)
    assert len({tensor.sum().item() for tensor in flat(last)}) == 6


def test_the_weights_are_there_once() -> None:
    count = sum(p.numel() for p in tied(8).parameters())
    assert count == 2 * (3 * H * H + 3 * H) + 8 * 2 * H


def test_differences_start_at_nothing_and_set_layers_apart() -> None:
    torch.manual_seed(0)
    x = x_of()
    made = lnn.TiedStack([lnn.LSTM(H, H)], 3, difference_rank=2).double()
    plain = lnn.TiedStack(list(made.cells), 3).double()
    close(made(x)[0], plain(x)[0])
    for parameter in made.differences.parameters():
        nn.init.normal_(parameter)
    u = x
    for k in range(3):
        cell = lnn.LSTM(H, H).double()
        cell.load_state_dict(made.cells[0].state_dict())
        difference: Any = made.differences[k]
        with torch.no_grad():
            for name in ("weight_ih_l0", "weight_hh_l0"):
                getattr(cell, name).add_(difference.left[name] @ difference.right[name])
        u = u + cell(made.norms[k](u + x if k else u))[0]
    close(made(x)[0], u)
    made(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in made.parameters())
    ranks = [torch.linalg.matrix_rank(d.left["weight_hh_l0"] @ d.right["weight_hh_l0"]) for d in made.differences]  # type: ignore[operator, union-attr, index]
    assert ranks == [2, 2, 2]


@pytest.mark.parametrize("pattern", ["cycle", "sequence", "middle"])
def test_more_and_fewer_layers_than_it_was_made_with(pattern: str) -> None:
    made, x = tied(4, 3, pattern=pattern), x_of()
    orders = {
        "cycle": ([0, 1, 2], [0, 1, 2, 0, 1, 2]),
        "sequence": ([0, 0, 1], [0, 0, 1, 2, 2, 2]),
        "middle": ([0, 1, 2], [0, 1, 1, 1, 1, 2]),
    }
    for order in orders[pattern]:
        lnn.set_steps(made, len(order))
        u = x
        for k, cell in enumerate(order):
            last = pattern == "middle" and k == len(order) - 1
            own = 3 if last else min(k, 2 if pattern == "middle" else 3)
            u = u + made.cells[cell](made.norms[own](u + x if k else u))[0]
        output, state = made(x)
        close(output, u)
        assert len(state) == len(order)
        # A state goes on into another number of layers: what is missing is initial, what is too much stays.
        lnn.set_steps(made, 4)
        after = made(x, state)[1]
        assert len(after) == max(4, len(order))
        assert all(torch.equal(a, b) for a, b in zip(after[4:], state[4:], strict=True))


@pytest.mark.parametrize("pattern", ["cycle", "middle"])
@pytest.mark.parametrize("policy", ["output", "freeze"])
def test_training_draws_the_number_of_layers(policy: str, pattern: str) -> None:
    random = lnn.RandomSteps(3, 5)
    made, x = tied(3, 3, pattern=pattern, random_steps=random, state=policy, kind=lnn.RNN), x_of()
    torch.manual_seed(9)
    before = tuple(torch.randn_like(t) for t in made.zero_state(x))
    assert len(before) == 5
    plain = tied(5, 3, pattern=pattern, kind=lnn.RNN).eval()
    plain.load_state_dict(made.state_dict())
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        steps = random.draw(Draws(draw_key()))
        steps = max(steps, 3) if pattern == "middle" else steps
        torch.manual_seed(seed)
        output, after = made(x, before)
        lnn.set_steps(plain, steps)
        expected, of_these = plain(x, before)
        close(output, expected)
        for item in range(steps):
            close(after[item], of_these[item])
        for item in range(steps, 5):
            assert torch.equal(after[item], before[item]) == (policy == "freeze")
        seen.add(steps)
    assert len(seen) > 1
    assert len(made.eval()(x)[1]) == 3


# --------------------------------------------------------------------------------------------------- deep transitions


@pytest.mark.parametrize("injection", ["every", "first"])
def test_a_deep_transition_runs_its_cell_several_times_a_symbol(injection: str) -> None:
    torch.manual_seed(0)
    cell = lnn.LSTM(2, H).double()
    deep = lnn.DeepTransition(cell, 3, injection=injection)  # type: ignore[arg-type]
    x = torch.randn(T, B, 2).double()
    for steps in (1, 3, 4):
        lnn.set_steps(deep, steps)
        state, outputs = None, []
        for x_t in x.split(1):
            for tick in range(steps):
                output, state = cell(x_t if tick == 0 or injection == "every" else torch.zeros_like(x_t), state)
            outputs.append(output)
        found, after = deep(x)
        close(found, torch.cat(outputs))
        for a, b in zip(flat(after), flat(state), strict=True):
            close(a, b)
    assert (deep.input_size, deep.hidden_size) == (2, H)


def test_a_deep_transition_of_one_step_is_its_cell() -> None:
    torch.manual_seed(0)
    cell, x = lnn.GRU(H, H).double(), x_of()
    assert torch.equal(lnn.DeepTransition(cell, 1)(x)[0], cell(x)[0])


def test_a_deep_transition_is_a_layer_of_a_stack() -> None:
    torch.manual_seed(0)
    deep = [lnn.DeepTransition(lnn.GRU(H, H), 2, random_steps=lnn.RandomSteps(2, 4)) for _ in range(2)]
    made, x = lnn.ResidualStack(deep).double(), x_of()
    outputs = []
    for seed in range(8):
        torch.manual_seed(seed)
        outputs.append(made(x)[0])
    assert len({output.sum().item() for output in outputs}) > 2
    made.eval()
    lnn.set_steps(made, 1)
    plain = lnn.ResidualStack([one.cell for one in deep]).double()
    plain.norms.load_state_dict(made.norms.state_dict())
    assert torch.equal(made(x)[0], plain(x)[0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tied(1, 2), "2 cells need at least as many steps, got 1"),
        (lambda: tied(4, 2, pattern="middle"), "needs a first, a last and a middle cell, got 2 cells"),
        (lambda: tied(4, pattern="other"), "pattern should be one of"),
        (lambda: tied(4, state="reset"), "state should be one of 'output', 'freeze'"),
        (lambda: lnn.set_steps(tied(4), 0), "should be at least 1, got 0"),
        (lambda: lnn.set_steps(tied(4, 3, pattern="middle"), 2), "should be at least 3, got 2"),
        (lambda: lnn.DeepTransition(lnn.GRU(H, H), 0), "should be at least 1, got 0"),
        (lambda: lnn.DeepTransition(lnn.GRU(H, H, batch_first=True), 2), r"gives \(T, B, H\), got GRU\(.*batch_first"),
        (lambda: lnn.DeepTransition(lnn.GRU(H, H, bidirectional=True), 2), r"got GRU\(.*bidirectional=True"),
        (lambda: lnn.DeepTransition(lnn.LSTM(H, H, proj_size=1), 2), r"got LSTM\(.*proj_size=1"),
        (lambda: lnn.set_steps(lnn.GRU(H, H), 2), "no layers that are repeated"),
        (lambda: tied(2)(torch.zeros(0, B, H)), r"expected an input \(T, B, 4\) with T > 0"),
    ],
)
def test_requests_that_are_wrong(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
