"""Fractal stacks: the expansion rule, joins, drop-path by itself and of whole columns, columns as networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.nn.parts.coins import survivors
from lsseq.nn.random import Draws, Kind, draw_key, first_row
from lsseq.nn.state import State, detach_state, flatten_state, map_state

T, B, H = 4, 3, 5


def fractal(columns: int, kind: Callable[..., nn.Module] = lnn.RNN, **options: Any) -> lnn.FractalStack:
    torch.manual_seed(0)
    made = lnn.FractalStack(lambda: kind(H, H), columns, **options).double()
    for parameter in made.norms.parameters():
        nn.init.normal_(parameter, 1.0, 0.3)
    return made


def x_of(B: int = B) -> Tensor:
    torch.manual_seed(7)
    return torch.randn(T, B, H).double()


def state_of(made: Any, x: Tensor) -> State:
    torch.manual_seed(8)
    return map_state(torch.randn_like, made.zero_state(x))


def flat(state: State) -> list[Tensor]:
    return list(flatten_state(state).values())


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_three_columns_by_hand() -> None:
    """The picture of the paper, figure 1: f_3 with a long path of four layers, and all states in order."""
    made, x = fractal(3), x_of()
    a, b1, b2, c, d1, d2, d3 = made.cells
    n1, n2 = made.norms
    # In order: column 3; columns 2 and 3 of the first half; column 3; columns 1, 2 and 3 at the end.
    first, half1, half2, third, whole, second1, second2 = a, b1, b2, c, d1, d2, d3
    half = n1((half1(x)[0] + half2(first(x)[0])[0]) / 2)
    end = n2((whole(x)[0] + second1(half)[0] + second2(third(half)[0])[0]) / 3)
    output, state = made(x)
    close(output, end)
    close(state[1], half1(x)[1])
    close(state[3], third(half)[1])
    assert len(state) == 7


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@pytest.mark.parametrize("blocks", [1, 2])
def test_counts(columns: int, blocks: int) -> None:
    made = fractal(columns, blocks=blocks)
    assert len(made.cells) == blocks * (2**columns - 1)
    assert len(made(x_of())[1]) == blocks * (2**columns - 1)
    assert [len(made.column(c).layers) for c in range(1, columns + 1)] == [blocks * 2**c for c in range(columns)]
    for sharing, cells in (("column", columns), ("all", 1)):
        shared = fractal(columns, blocks=blocks, sharing=sharing)
        assert len(shared.cells) == cells
        assert len(shared(x_of())[1]) == blocks * (2**columns - 1)
    for c in range(1, columns + 1):
        assert len({id(layer) for layer in fractal(columns, sharing="column").column(c).layers}) == 1


def test_one_column_is_a_plain_stack() -> None:
    made, x = fractal(1, lnn.LSTM, blocks=3, drop_path=lnn.DropPath(0.5)), x_of()
    plain = x
    for cell in made.cells:
        plain = cell(plain)[0]
    assert torch.equal(made(x)[0], plain)
    assert len(made.norms) == 0
    assert torch.equal(made.column(1)(x)[0], plain)


def test_windows_of_a_sequence_are_the_sequence() -> None:
    made, x = fractal(3, lnn.LSTM, sharing="column"), x_of()
    whole, last = made(x)
    first, state = made(x[:1])
    second, state = made(x[1:], detach_state(state))
    close(torch.cat([first, second]), whole)
    for a, b in zip(flat(state), flat(last), strict=True):
        close(a, b)


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("policy", ["output", "freeze"])
def test_a_column_is_the_masked_whole(columns: int, blocks: int, policy: str) -> None:
    """To the bit, with the states of its layers; those of others stay or go on, as is said."""
    drop = lnn.DropPath(global_share=1.0, over="batch", state=policy)  # type: ignore[arg-type]
    made, x = fractal(columns, lnn.GRU, blocks=blocks, drop_path=drop), x_of()
    before = state_of(made, x)
    seen = set()
    for seed in range(15):
        torch.manual_seed(seed)
        number = int(Draws(draw_key(), 1).uniform(Kind.PATH, (1, 1, 1)) * columns) + 1
        torch.manual_seed(seed)
        output, after = made(x, before)
        column = made.column(number)
        own = [item for item, cell in enumerate(made.cells) if any(cell is layer for layer in column.layers)]
        expected, of_these = column(x, tuple(before[item] for item in own))
        assert torch.equal(output, expected)
        assert all(torch.equal(after[item], state) for item, state in zip(own, of_these, strict=True))
        others = set(range(len(before))) - set(own)
        assert all(torch.equal(after[item], before[item]) == (policy == "freeze") for item in others)
        seen.add(number)
    assert seen == set(range(1, columns + 1))


def test_columns_of_each_row() -> None:
    made, x = fractal(3, drop_path=lnn.DropPath(global_share=1.0)), x_of(8)
    torch.manual_seed(1)
    numbers = (Draws(draw_key(), 1).uniform(Kind.PATH, (1, 8, 1)) * 3).long().flatten() + 1
    torch.manual_seed(1)
    output, _ = made(x)
    assert len(set(numbers.tolist())) == 3
    for row, number in enumerate(numbers.tolist()):
        close(output[:, row : row + 1], made.column(number)(x[:, row : row + 1])[0])
    torch.manual_seed(1)
    with first_row(3):
        close(made(x[:, 3:])[0], output[:, 3:])


def test_columns_share_the_weights_and_learn() -> None:
    made, x = fractal(2), x_of()
    column = made.column(2)
    with torch.no_grad():
        made.cells[0].weight_ih_l0.mul_(2)  # type: ignore[union-attr, operator]
    assert column.layers[0] is made.cells[0]
    column(x)[0].square().sum().backward()
    assert [cell.weight_hh_l0.grad is not None for cell in made.cells] == [True, False, True]


@pytest.mark.parametrize("over", ["batch", "sequence"])
@pytest.mark.parametrize("policy", ["output", "freeze"])
def test_joins_drop_by_themselves(over: str, policy: str) -> None:
    drop = lnn.DropPath(0.5, global_share=0.0, over=over, state=policy)  # type: ignore[arg-type]
    made, x = fractal(2, drop_path=drop), x_of(8)
    before = state_of(made, x)
    long, short, upper = made.cells
    outcomes: Counter[tuple[bool, ...]] = Counter()
    for seed in range(6):
        torch.manual_seed(seed)
        # The only join is that of the second and the third layer, and has the coins from the second on.
        shape = (1, 1 if over == "batch" else 8, 1)
        alive = survivors(Draws(draw_key(), 1), Kind.DROP_PATH, [0.5, 0.5], shape, 1).expand(2, 1, 8, 1)
        torch.manual_seed(seed)
        output, after = made(x, before)
        below, of_long = long(x, before[0])
        one, of_short = short(x, before[1])
        two, of_upper = upper(below, before[2])
        weights = alive / alive.sum(0)
        close(output, made.norms[0](weights[0] * one + weights[1] * two))
        for item, (kept, moved) in enumerate([(alive[1], of_long), (alive[0], of_short), (alive[1], of_upper)]):
            expected = torch.where(kept, moved, before[item]) if policy == "freeze" else moved
            close(after[item], expected)
        outcomes.update(map(tuple, alive.squeeze(1).squeeze(-1).t().tolist()))
    assert (False, False) not in outcomes
    assert len(outcomes) > 1


def test_layers_that_are_not_used_are_not_computed() -> None:
    drop = lnn.DropPath(global_share=1.0, over="batch", state="freeze")
    made, x = fractal(3, blocks=2, drop_path=drop), x_of()
    calls: list[nn.Module] = []
    for cell in made.cells:
        cell.register_forward_hook(lambda module, *_: calls.append(module))
    counts = set()
    for seed in range(15):
        calls.clear()
        torch.manual_seed(seed)
        made(x)
        counts.add(len(calls))
    assert counts == {2, 4, 8}


def test_half_of_the_calls_drop_globally() -> None:
    made, x = fractal(2, drop_path=lnn.DropPath(0.0, over="batch", state="freeze")), x_of()
    calls: list[nn.Module] = []
    for cell in made.cells:
        cell.register_forward_hook(lambda module, *_: calls.append(module))
    whole = 0
    for seed in range(100):
        calls.clear()
        torch.manual_seed(seed)
        made(x)
        whole += len(calls) == 3
    assert 30 < whole < 70


def test_evaluation_takes_all_columns() -> None:
    made, x = fractal(3, drop_path=lnn.DropPath(0.5)).eval(), x_of()
    plain = fractal(3)(x)[0]
    generator = torch.get_rng_state()
    assert torch.equal(made(x)[0], plain)
    assert torch.equal(torch.get_rng_state(), generator)


def test_dropout_of_what_layers_read() -> None:
    made, x = fractal(2, dropout=lnn.Dropout(1.0)), x_of()
    long, short, upper = made.cells
    close(made(x)[0], made.norms[0]((short(x)[0] + upper(torch.zeros_like(x))[0]) / 2))
    close(made.column(2)(x)[0], made.norms[0](upper(torch.zeros_like(x))[0]))
    assert long.training


def test_gradients_with_drop_path() -> None:
    made, x = fractal(2, drop_path=lnn.DropPath(0.5, state="freeze")), x_of()[:2].requires_grad_()

    def total(x: Tensor, *_: Tensor) -> Tensor:
        torch.manual_seed(4)
        return made(x)[0].square().sum()

    assert torch.autograd.gradcheck(total, (x, *made.parameters()))


def batch_normed(**options: Any) -> lnn.FractalStack:
    return fractal(2, partial(lnn.LSTM, norm="batch", norm_steps=T), drop_path=lnn.DropPath(0.5, **options))


@pytest.mark.parametrize("options", [{"over": "batch", "state": "freeze"}, {"over": "sequence"}], ids=str)
def test_batch_norm_where_all_rows_are_at_the_same_step(options: dict[str, Any]) -> None:
    made, x, state = batch_normed(**options), x_of(), None
    for seed in range(8):
        torch.manual_seed(seed)
        _, state = made(x, detach_state(state))
        assert all((count == count[:, :1]).all() for _, _, count in state)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fractal(0), "at least one column and one block, got 0 and 1"),
        (lambda: fractal(2, sharing="some"), "sharing should be one of"),
        (lambda: fractal(2).column(3), r"column should be in range \[1, 2\], got 3"),
        (lambda: lnn.DropPath(1.5), r"rate should be a number in range \[0, 1\]"),
        (lambda: lnn.DropPath(over="step"), "over should be one of 'batch', 'sequence'"),  # type: ignore[arg-type]
        (lambda: fractal(2)(x_of(), (None,)), "expected the states of 3 layers, got 1"),
        (lambda: batch_normed(state="freeze"), "which state='freeze' over a 'sequence' sets apart"),
        (lambda: lnn.FractalStack(lambda: lnn.GRU(H, 2 * H), 2), "layer 0 of a stack should read and give"),
    ],
)
def test_requests_that_are_wrong(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
