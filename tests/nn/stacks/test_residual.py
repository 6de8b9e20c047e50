"""Residual stacks: what they compute, what is dropped, and what happens to the state of a dropped layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.nn.parts.coins import survival_rates, survivors
from lsseq.nn.random import Draws, Kind, first_row
from lsseq.nn.state import State, detach_state, map_state, select_rows

T, B, H, L = 6, 4, 5, 3
MAKE: dict[str, Callable[..., nn.Module]] = {"lstm": lnn.LSTM, "gru": lnn.GRU, "rnn": lnn.RNN}


def stack(cell: str = "lstm", layers: int = L, options: dict[str, Any] | None = None, **noise: Any) -> Any:
    torch.manual_seed(0)
    made = lnn.ResidualStack([MAKE[cell](H, H, **(options or {})) for _ in range(layers)], **noise).double()
    for name, parameter in made.named_parameters():
        if name.startswith("norms"):
            nn.init.normal_(parameter, 1.0, 0.3)
    return made


def dropping(survival: float = 0.5, **keys: Any) -> Any:
    return stack(stochastic_depth=lnn.StochasticDepth(survival, **keys))


def x_of(T: int = T, B: int = B) -> Tensor:
    torch.manual_seed(7)
    return torch.randn(T, B, H, dtype=torch.float64)


def state_of(made: Any, x: Tensor) -> State:
    torch.manual_seed(8)
    return map_state(torch.randn_like, made.zero_state(x))


def call(made: Any, x: Tensor, state: State = None, seed: int = 3) -> tuple[Tensor, State]:
    torch.manual_seed(seed)
    return made(x, state)


def coins(made: Any, x: Tensor, seed: int = 3) -> Tensor:
    """Which layers a call with this seed keeps, (L, T, B, 1)."""
    torch.manual_seed(seed)
    depth = made.noise
    draws = Draws.here(lnn.random.draw_key())
    shape = {"batch": (1, 1, 1), "sequence": (1, x.shape[1], 1), "step": (*x.shape[:2], 1)}[depth.over]
    rates = [1 - (l + 1) / L * (1 - depth.survival) if depth.schedule == "linear" else depth.survival for l in range(L)]
    return survivors(draws, Kind.STOCHASTIC_DEPTH, rates, shape, depth.min_alive)


def flat(state: State) -> list[Tensor]:
    return list(lnn.state.flatten_state(state).values())


def assert_equal(a: tuple[Tensor, State], b: tuple[Tensor, State]) -> None:
    assert all(torch.equal(p, q) for p, q in zip(flat(a), flat(b), strict=True))


# --------------------------------------------------------------------------------------------------------- the stack


@pytest.mark.parametrize("cell", list(MAKE))
def test_each_layer_adds_to_what_it_reads(cell: str) -> None:
    made, x = stack(cell), x_of()
    state = state_of(made, x)
    u, after = x, []
    for norm, layer, before in zip(made.norms, made.layers, state, strict=True):
        output, own = layer(norm(u), before)
        u = u + output
        after.append(own)
    assert_equal(made(x, state), (u, tuple(after)))
    assert_equal(made(x), made(x, made.zero_state(x)))


def test_options_of_the_layers_are_kept() -> None:
    made = stack(options={"zoneout_cell": 0.5, "zoneout_hidden": 0.1, "norm": "layer", "rank": 2, "diagonal": True})
    x = x_of()
    assert not torch.equal(call(made, x, seed=1)[0], call(made, x, seed=2)[0])
    assert_equal(call(made, x), call(made, x))
    made.eval()
    assert_equal(call(made, x, seed=1), call(made, x, seed=2))
    assert all(layer.rank == 2 for layer in made.layers)


@pytest.mark.parametrize("noise", [{}, {"stochastic_depth": lnn.StochasticDepth(0.5)}, {"swapout": lnn.Swapout()}])
def test_windows_of_a_sequence_are_the_sequence_in_evaluation(noise: dict[str, Any]) -> None:
    made, x = stack(**noise).eval(), x_of()
    whole, last = made(x)
    first, state = made(x[:2])
    second, state = made(x[2:], detach_state(state))
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    for a, b in zip(flat(state), flat(last), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    rows = torch.tensor([2, 0])
    some, _ = made(x[2:, rows], select_rows(made(x[:2])[1], rows))
    torch.testing.assert_close(some, second[:, rows], rtol=1e-12, atol=1e-12)


def test_a_stack_is_a_layer() -> None:
    torch.manual_seed(0)
    inner = lnn.ResidualStack([lnn.GRU(H, H), lnn.RNN(H, H)])
    outer = lnn.ResidualStack([inner, lnn.LSTM(H, H)]).double()
    output, state = outer(x_of())
    assert output.shape == (T, B, H)
    assert [tuple(t.shape) for t in flat(state)] == [(1, B, H)] * 4
    assert torch.equal(outer(x_of(), state)[0], outer(x_of(), tuple(state))[0])


def test_dropout_between_the_layers() -> None:
    x = x_of()
    made = stack(dropout=lnn.Dropout(1.0))
    u = x + made.layers[0](made.norms[0](x))[0]
    for layer in made.layers[1:]:
        u = u + layer(torch.zeros_like(x))[0]
    assert torch.equal(made(x)[0], u)
    assert torch.equal(made.eval()(x)[0], stack().eval()(x)[0])


def batch_normed(**options: Any) -> Any:
    return stack(options={"norm": "batch", "norm_steps": T}, stochastic_depth=lnn.StochasticDepth(**options))


@pytest.mark.parametrize(
    "options",
    [
        *({"over": "batch", "state": state} for state in ("output", "freeze", "reset")),
        {"over": "step"},
        {"survival": 1.0, "state": "freeze"},
    ],
    ids=str,
)
def test_batch_norm_where_all_rows_are_at_the_same_step(options: dict[str, Any]) -> None:
    made, x, state = batch_normed(**options), x_of(), None
    for seed in range(8):
        torch.manual_seed(seed)
        _, state = made(x, detach_state(state))
        counts = [layer_state[2] for layer_state in state]
        assert all((count == count[:, :1]).all() for count in counts)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: lnn.ResidualStack([]), "at least one layer"),
        (lambda: lnn.ResidualStack([lnn.GRU(H, H), lnn.GRU(H, 2 * H)]), r"layer 1 of a stack .* got GRU\(5, 10\)"),
        (lambda: lnn.ResidualStack([lnn.LSTM(H, H, proj_size=2)]), "layer 0 of a stack"),
        (lambda: lnn.ResidualStack([lnn.LSTM(H, H, batch_first=True)]), "layer 0 of a stack"),
        (lambda: stack(stochastic_depth=lnn.StochasticDepth(), swapout=lnn.Swapout()), "exclude each other"),
        (lambda: dropping(min_alive=4), r"min_alive should be in range \[0, 3\]"),
        (lambda: lnn.StochasticDepth(0.0), "survival should be above 0"),
        (lambda: lnn.StochasticDepth(state="keep"), "state should be one of 'output', 'freeze', 'reset'"),  # type: ignore[arg-type]
        (lambda: lnn.Swapout(branch=1.1), r"branch should be a number in range \[0, 1\]"),
        (lambda: lnn.Swapout(coupling="none"), "coupling should be one of"),  # type: ignore[arg-type]
        (lambda: batch_normed(over="sequence", state="freeze"), "which state='freeze' over a 'sequence' sets apart"),
        (lambda: batch_normed(over="step", state="reset"), "which state='reset' over a 'step' sets apart"),
        (lambda: stack()(torch.zeros(T, B, H + 1)), r"expected an input \(T, B, 5\) with T > 0, got \(6, 4, 6\)"),
        (lambda: stack()(x_of(), (None,)), "expected the states of 3 layers, got 1"),
    ],
)
def test_requests_that_are_wrong(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# --------------------------------------------------------------------------------------------------- stochastic depth


@pytest.mark.parametrize("over", ["batch", "sequence", "step"])
@pytest.mark.parametrize("policy", ["output", "freeze", "reset"])
def test_survival_of_one_is_the_stack_without_it(over: str, policy: str) -> None:
    x = x_of()
    options = {"zoneout_cell": 0.3}
    plain = stack(options=options)
    for scaling in ("train", "test"):
        depth = lnn.StochasticDepth(1.0, over=over, state=policy, scaling=scaling)  # type: ignore[arg-type]
        made = stack(options=options, stochastic_depth=depth)
        assert_equal(call(made, x), call(plain, x))
        assert_equal(call(made.eval(), x), call(plain.eval(), x))
        plain.train()


@pytest.mark.parametrize("over", ["batch", "sequence", "step"])
@pytest.mark.parametrize("scaling", ["train", "test"])
@pytest.mark.parametrize("least", [0, 2])
def test_what_a_dropped_layer_adds_is_gone(over: str, scaling: str, least: int) -> None:
    made = dropping(0.3, over=over, scaling=scaling, min_alive=least)
    x = x_of()
    alive = coins(made, x).double()
    kept = survival_rates((1 - 0.7 / 3, 1 - 1.4 / 3, 0.3), least)
    u = x
    for norm, layer, one, q in zip(made.norms, made.layers, alive, kept, strict=True):
        u = u + one / (q if scaling == "train" else 1) * layer(norm(u))[0]
    torch.testing.assert_close(call(made, x)[0], u, rtol=1e-12, atol=1e-12)
    u = x
    for norm, layer, q in zip(made.norms, made.layers, kept, strict=True):
        u = u + (1 if scaling == "train" else q) * layer(norm(u))[0]
    torch.testing.assert_close(call(made.eval(), x)[0], u, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scaling", ["train", "test"])
def test_the_mean_over_draws_is_the_evaluation_of_one_layer(scaling: str) -> None:
    """Exact with one layer only, and over one coin's two outcomes."""
    depth = lnn.StochasticDepth(0.4, scaling=scaling)  # type: ignore[arg-type]
    made, x = stack(layers=1, stochastic_depth=depth), x_of(B=1)
    outcomes: dict[bool, Tensor] = {}
    for seed in range(40):
        y = call(made, x, seed=seed)[0]
        outcomes[torch.equal(y, x)] = y
    mean = 0.6 * outcomes[True] + 0.4 * outcomes[False]
    torch.testing.assert_close(mean, made.eval()(x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("over", ["batch", "sequence", "step"])
def test_a_frozen_layer_keeps_its_state_to_the_bit_and_a_reset_one_has_none(over: str) -> None:
    def made_of(policy: str) -> Any:
        return dropping(0.3, over=over, state=policy, schedule="constant")

    def kept(seed: int) -> Tensor:
        return coins(made_of("freeze"), x, seed).squeeze(-1).expand(L, T if over == "step" else 1, B)

    x = x_of()
    state = state_of(made_of("freeze"), x)
    # A seed with which some layer is kept at some step, and some at none.
    seed = next(seed for seed in range(50) if 0 < kept(seed).any(1).sum() < L * B)
    moved, last = kept(seed).any(1), kept(seed)[:, -1]
    frozen = call(made_of("freeze"), x, state, seed)[1]
    gone = call(made_of("reset"), x, state, seed)[1]
    for l in range(L):
        for after, before in zip(flat(frozen[l]), flat(state[l]), strict=True):
            assert torch.equal(after[0][~moved[l]], before[0][~moved[l]])
            assert not (after[0][moved[l]] == before[0][moved[l]]).any()
        for after in flat(gone[l]):
            assert not after[0][~last[l]].any()
            assert after[0][last[l]].all()
    moving = call(made_of("output"), x, state, seed)[1]
    assert all((after != before).all() for after, before in zip(flat(moving), flat(state), strict=True))


def test_steps_that_freeze_leave_a_sequence_without_them() -> None:
    """A row's layer reads the steps at which it is kept, as if there were no others."""
    depth = lnn.StochasticDepth(0.5, over="step", state="freeze", schedule="constant", scaling="test")
    made, x = stack(layers=1, stochastic_depth=depth), x_of()
    torch.manual_seed(3)
    alive = survivors(Draws.here(lnn.random.draw_key()), Kind.STOCHASTIC_DEPTH, [0.5], (T, B, 1), 0)[0].squeeze(-1)
    y, state = call(made, x)
    for row in range(B):
        kept = alive[:, row]
        assert kept.any()
        v = made.norms[0](x)[kept, row : row + 1]
        output, (h, c) = made.layers[0](v)
        torch.testing.assert_close(y[kept, row], (x[kept, row] + output.squeeze(1)), rtol=1e-12, atol=1e-12)
        assert torch.equal(y[~kept, row], x[~kept, row])
        torch.testing.assert_close(state[0][0][:, row], h[:, 0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state[0][1][:, row], c[:, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("policy", "computed"), [("output", L), ("freeze", None), ("reset", None)])
def test_layers_that_are_dropped_for_the_whole_batch_are_not_computed(policy: str, computed: int | None) -> None:
    made, x = dropping(0.3, over="batch", state=policy), x_of()
    calls: list[nn.Module] = []
    for layer in made.layers:
        layer.register_forward_hook(lambda module, *_: calls.append(module))
    for seed in range(6):
        calls.clear()
        call(made, x, seed=seed)
        assert len(calls) == (computed or int(coins(made, x, seed).sum()))


def test_gradients_pass_a_dropped_layer_by() -> None:
    made = dropping(0.3, over="batch", state="freeze", schedule="constant")
    x = x_of().requires_grad_()
    seed = next(seed for seed in range(50) if coins(made, x, seed).flatten().tolist() == [True, False, True])
    call(made, x, seed=seed)[0].sum().backward()
    assert [any(p.grad is not None for p in layer.parameters()) for layer in made.layers] == [True, False, True]
    assert x.grad is not None
    assert x.grad.all()


def test_enough_layers_survive() -> None:
    made, x = dropping(0.05, schedule="constant", min_alive=2), x_of(B=50)
    y = call(made, x)[0]
    assert (y != x).any(-1).all()
    assert coins(made, x).sum(0).min() == 2


@pytest.mark.parametrize("over", ["batch", "sequence", "step"])
def test_masks_are_those_of_the_rows_of_the_whole_batch(over: str) -> None:
    made, x = dropping(0.5, over=over, state="freeze"), x_of()
    whole, state = call(made, x)
    with first_row(1):
        part, own = call(made, x[:, 1:])
    torch.testing.assert_close(part, whole[:, 1:], rtol=1e-12, atol=1e-12)
    for a, b in zip(flat(own), flat(state), strict=True):
        torch.testing.assert_close(a, b[:, 1:], rtol=1e-12, atol=1e-12)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.testing.assert_close(call(made, x)[0], whole, rtol=1e-12, atol=1e-12)
    finally:
        torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------------------------------ swapout


@pytest.mark.parametrize("schedule", ["linear", "constant"])
@pytest.mark.parametrize("over", ["sequence", "step"])
def test_swapout_of_ones_is_the_residual_stack(schedule: str, over: str) -> None:
    x = x_of()
    made = stack(swapout=lnn.Swapout(1.0, 1.0, schedule=schedule, over=over))  # type: ignore[arg-type]
    assert_equal(call(made, x), call(stack(), x))


@pytest.mark.parametrize("coupling", ["independent", "complementary", "equal"])
@pytest.mark.parametrize("over", ["sequence", "step"])
def test_swapout_mixes_units(coupling: str, over: str) -> None:
    swapout = lnn.Swapout(0.4, 0.7, schedule="constant", coupling=coupling, over=over)  # type: ignore[arg-type]
    made, x = stack(swapout=swapout), x_of()
    torch.manual_seed(3)
    key = lnn.random.draw_key()
    u = x
    shape = (T if over == "step" else 1, B, H)
    for l, (norm, layer) in enumerate(zip(made.norms, made.layers, strict=True)):
        first = Draws(key, l).mask(Kind.SWAPOUT_INPUT, 0.4, shape).double()
        second = {
            "independent": Draws(key, l).mask(Kind.SWAPOUT_BRANCH, 0.7, shape).double(),
            "complementary": 1 - first,
            "equal": first,
        }[coupling]
        u = first * u + second * layer(norm(u))[0]
    assert torch.equal(call(made, x)[0], u)
    u, second_rate = x, {"independent": 0.7, "complementary": 0.6, "equal": 0.4}[coupling]
    for norm, layer in zip(made.norms, made.layers, strict=True):
        u = 0.4 * u + second_rate * layer(norm(u))[0]
    torch.testing.assert_close(made.eval()(x)[0], u, rtol=1e-12, atol=1e-12)


def test_swapout_with_one_coin_a_layer_would_be_stochastic_depth() -> None:
    """Θ₁ = 1 and Θ₂ the same for all units: here with a rate of 0 or 1 for the only layer above the first."""
    x = x_of()
    made = stack(layers=2, swapout=lnn.Swapout(1.0, 0.0))
    y, state = made(x)
    assert torch.equal(y, x + made.layers[0](made.norms[0](x))[0])
    assert all(t.any() for t in flat(state))


def test_gradients_of_the_noisy_stacks() -> None:
    for noise in ({"swapout": lnn.Swapout()}, {"stochastic_depth": lnn.StochasticDepth(over="step", state="freeze")}):
        made = stack("gru", **noise)
        x = x_of(T=3, B=2).requires_grad_()
        weights = [made.layers[1].weight_hh_l0, made.norms[1].weight]

        def total(x: Tensor, *_: Tensor, made: Any = made) -> Tensor:
            return call(made, x)[0].square().sum()

        assert torch.autograd.gradcheck(total, (x, *weights))
