"""The LSTM's step against equations written out here, and the properties that its options must have."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.nn.random import Kind, bernoulli, draw_key

F64 = torch.float64
T, B, I, H = 6, 3, 4, 5


def make(seed: int = 0, layers: int = 1, **options: object) -> lnn.LSTM:
    torch.manual_seed(seed)
    return lnn.LSTM(I, H, layers, dtype=F64, **options)


def data(seed: int = 1, steps: int = T, batch: int = B, layers: int = 1) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, batch, I, dtype=F64, generator=g)
    h, c = torch.randn(2, layers, batch, H, dtype=F64, generator=g)
    return x, (h, c)


def next_key(seed: int) -> int:
    """The key that a call draws after `torch.manual_seed(seed)`."""
    torch.manual_seed(seed)
    return draw_key()


def layer_norm(u: Tensor, gain: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    mean = u.mean(-1, keepdim=True)
    variance = ((u - mean) ** 2).mean(-1, keepdim=True)
    return bias + gain * (u - mean) / (variance + 1e-5).sqrt()


def equations(
    layer: lnn.LSTM,
    x: Tensor,
    h: Tensor,
    c: Tensor,
    d_c: Tensor,
    d_h: Tensor,
    kept: Tensor,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer, step by step: masks d_c and d_h (T, B, H) or rates, `kept` the factors of the candidate (T, B, H)."""
    p = dict(layer.named_parameters())
    W_ih, W_hh = p["weight_ih_l0"], p["weight_hh_l0"] if weight is None else weight
    outputs = []
    for t in range(len(x)):
        from_x, from_h = x[t] @ W_ih.T, h @ W_hh.T
        if layer.norm == "layer":
            from_x, from_h = layer_norm(from_x, p["norm_ih_l0"]), layer_norm(from_h, p["norm_hh_l0"])
        a = from_x + p["bias_ih_l0"] + from_h + p["bias_hh_l0"]
        i, f, g, o = (a[:, k * H : (k + 1) * H] for k in range(4))
        new_c = c / (1 + torch.exp(-f)) + torch.tanh(g) * kept[t] / (1 + torch.exp(-i))
        seen = layer_norm(new_c, p["norm_c_l0"], p["norm_c_bias_l0"]) if layer.norm == "layer" else new_c
        new_h = torch.tanh(seen) / (1 + torch.exp(-o))
        h = d_h[t] * h + (1 - d_h[t]) * new_h
        c = d_c[t] * c + (1 - d_c[t]) * new_c
        outputs.append(h)
    return torch.stack(outputs), h, c


OPTIONS = [
    {},
    {"zoneout_cell": 0.5},
    {"zoneout_hidden": 0.3},
    {"zoneout_cell": 0.5, "zoneout_hidden": 0.05},
    {"recurrent_dropout": 0.4},
    {"weight_dropout": 0.5},
    {"norm": "layer"},
    {"norm": "layer", "zoneout_cell": 0.3, "zoneout_hidden": 0.2, "recurrent_dropout": 0.25, "weight_dropout": 0.25},
]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equations_with_the_engines_masks(options: dict[str, object], training: bool) -> None:
    layer = make(backend="reference", **options).train(training)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("norm"):
                parameter.uniform_(0.5, 1.5)
    x, (h, c) = data()
    key = next_key(3)

    def mask(kind: Kind, rate: float) -> Tensor:
        return bernoulli(key, 0, kind, rate, T, B, H).to(F64)

    r_c, r_h, r_g, r_w = layer.zoneout_cell, layer.zoneout_hidden, layer.recurrent_dropout, layer.weight_dropout
    weight = layer.weight_hh_l0
    if training:
        d_c, d_h = mask(Kind.ZONEOUT_CELL, r_c), mask(Kind.ZONEOUT_HIDDEN, r_h)
        kept = (1 - mask(Kind.RECURRENT_DROPOUT, r_g)) / (1 - r_g)
        dropped = bernoulli(key, 0, Kind.WEIGHT_DROPOUT, r_w, 1, 4 * H, H)[0].to(F64)
        weight = weight * (1 - dropped) / (1 - r_w)
    else:
        d_c, d_h = (torch.full((T, B, H), rate, dtype=F64) for rate in (r_c, r_h))
        kept = torch.ones(T, B, H, dtype=F64)
    expected = equations(layer, x, h[0], c[0], d_c, d_h, kept, weight)
    torch.manual_seed(3)
    output, (h_n, c_n) = layer(x, (h, c))
    parameters = list(layer.parameters())
    for got, want in zip((output, h_n[0], c_n[0]), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)
    loss, wanted_loss = (
        output.square().sum() + h_n.sum() + c_n.sum(),
        expected[0].square().sum() + sum(map(torch.sum, expected[1:])),
    )
    wanted = torch.autograd.grad(wanted_loss, parameters)
    for got, want in zip(torch.autograd.grad(loss, parameters), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


# The hand example: H = I = 1, no biases, i, f, g, o with W_ih = .1 .2 .3 .4 and W_hh = .5 .6 .7 .8.
HAND_STATE = (torch.tensor([[[0.5]]], dtype=F64), torch.tensor([[[-0.25]]], dtype=F64))
HAND_X = torch.tensor([[[1.0]], [[-0.5]], [[2.0]]], dtype=F64)


def hand(**options: float) -> lnn.LSTM:
    layer = lnn.LSTM(1, 1, bias=False, dtype=F64, backend="reference", **options)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor([[0.1], [0.2], [0.3], [0.4]], dtype=F64))
        layer.weight_hh_l0.copy_(torch.tensor([[0.5], [0.6], [0.7], [0.8]], dtype=F64))
    return layer


def cells(layer: lnn.LSTM, x: Tensor, state: tuple[Tensor, Tensor]) -> list[float]:
    found = []
    for x_t in x:
        _, state = layer(x_t[None], state)
        found.append(state[1].item())
    return found


def test_hand_example_without_zoneout() -> None:
    layer = hand()
    h = layer(HAND_X, HAND_STATE)[0].flatten().tolist()
    assert h == pytest.approx([0.1226954166, 0.0267788144, 0.2264575336], abs=1e-9)
    assert cells(layer, HAND_X, HAND_STATE) == pytest.approx([0.1797368186, 0.0564886031, 0.3384073106], abs=1e-9)


def test_hand_example_in_evaluation() -> None:
    layer = hand(zoneout_cell=0.5, zoneout_hidden=0.05).eval()
    h = layer(HAND_X, HAND_STATE)[0].flatten().tolist()
    assert h == pytest.approx([0.1415606458, -0.0125082923, 0.1702184023], abs=1e-9)
    assert cells(layer, HAND_X, HAND_STATE) == pytest.approx([-0.0351315907, -0.0391305629, 0.1142687259], abs=1e-9)


def test_hand_example_in_training() -> None:
    # The keep bits of (c, h) are (1, 0), (0, 1), (0, 0); the seed is one whose masks are these.
    layer = hand(zoneout_cell=0.5, zoneout_hidden=0.5)
    wanted = [[1, 0, 0], [0, 1, 0]]

    def bits(seed: int) -> list[list[int]]:
        key = next_key(seed)
        return [
            bernoulli(key, 0, kind, 0.5, 3, 1, 1).flatten().tolist()
            for kind in (Kind.ZONEOUT_CELL, Kind.ZONEOUT_HIDDEN)
        ]

    seed = next(seed for seed in itertools.count() if bits(seed) == wanted)
    torch.manual_seed(seed)
    output, (h, c) = layer(HAND_X, HAND_STATE)
    assert output.flatten().tolist() == pytest.approx([0.1226954166, 0.1226954166, 0.1676655383], abs=1e-9)
    assert c.item() == pytest.approx(0.2404905634, abs=1e-9)
    # tanh of the zoned cell would have given -.1689876270 at the first step.
    assert h.item() == output[-1].item()


def test_rates_of_one_never_change_the_state() -> None:
    layer = make(zoneout_cell=1.0, zoneout_hidden=1.0)
    x, (h, c) = data()
    for tensor in (x, h, c):
        tensor.requires_grad_()
    for training in (True, False):
        output, (h_n, c_n) = layer.train(training)(x, (h, c))
        assert torch.equal(output, h.expand(T, B, H))
        assert torch.equal(h_n, h)
        assert torch.equal(c_n, c)
        weights = torch.randn_like(output)
        d_x, d_h, *d_parameters = torch.autograd.grad(
            (output * weights).sum(), [x, h, *layer.parameters()], retain_graph=True
        )
        assert not d_x.any()
        assert not any(d.any() for d in d_parameters)
        torch.testing.assert_close(d_h[0], weights.sum(0), rtol=1e-14, atol=1e-14)
        (d_c,) = torch.autograd.grad((c_n * weights[0]).sum(), c)
        assert torch.equal(d_c[0], weights[0])


def test_one_step_averages_to_the_evaluation_rule() -> None:
    n = 200_000
    layer = make(zoneout_cell=0.5, zoneout_hidden=0.3)
    x, (h, c) = data(steps=1, batch=1)
    with torch.no_grad():
        _, (eval_h, eval_c) = layer.eval()(x, (h, c))
        plain = make(backend="reference")
        _, (new_h, new_c) = plain(x, (h, c))
        wide = [tensor.expand(-1, n, -1).contiguous() for tensor in (x, h, c)]
        torch.manual_seed(0)
        _, (h_n, c_n) = layer.train()(wide[0], (wide[1], wide[2]))
    for states, mean, new, old, rate in ((h_n, eval_h, new_h, h, 0.3), (c_n, eval_c, new_c, c, 0.5)):
        variance = rate * (1 - rate) * (new - old).square()[0, 0]
        assert ((states[0].mean(0) - mean[0, 0]).abs() < 5 * (variance / n).sqrt()).all()
        torch.testing.assert_close(states[0].var(0), variance, rtol=0.05, atol=1e-4)


def test_training_keeps_the_old_value_or_takes_the_new_one() -> None:
    layer = make(zoneout_cell=0.5, zoneout_hidden=0.05, backend="reference")
    x, (h, c) = data(batch=2000)
    with torch.no_grad():
        _, (h_n, c_n) = layer(x[:1], (h, c))
        _, (new_h, new_c) = make(backend="reference")(x[:1], (h, c))
    for after, new, old, rate in ((h_n, new_h, h, 0.05), (c_n, new_c, c, 0.5)):
        keeps = after == old
        assert (keeps | (after == new)).all()
        assert abs(keeps.double().mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / keeps.numel())


@pytest.mark.parametrize("training", [True, False])
def test_each_rate_touches_its_own_state_only(training: bool) -> None:
    x, (h, c) = data(steps=1)
    plain = make(backend="reference")
    _, (new_h, new_c) = plain(x, (h, c))
    _, (h_n, c_n) = make(zoneout_cell=0.5, backend="reference").train(training)(x, (h, c))
    assert torch.equal(h_n, new_h)
    assert not torch.equal(c_n, new_c)
    _, (h_n, c_n) = make(zoneout_hidden=0.5, backend="reference").train(training)(x, (h, c))
    assert torch.equal(c_n, new_c)
    assert not torch.equal(h_n, new_h)


def test_masks_of_cell_and_hidden_state_are_their_own() -> None:
    layer = make(zoneout_cell=0.5, zoneout_hidden=0.5)
    x, (h, c) = data(steps=1, batch=500)
    with torch.no_grad():
        _, (h_n, c_n) = layer(x, (h, c))
    kept_h, kept_c = (h_n == h).double() - 0.5, (c_n == c).double() - 0.5
    assert abs((kept_h * kept_c).mean() * 4) < 4 / math.sqrt(kept_h.numel())


def test_a_step_whose_units_are_all_kept_passes_no_gradient_to_its_input() -> None:
    x, state = data()
    x.requires_grad_()
    both = make(zoneout_cell=1.0, zoneout_hidden=1.0)
    assert not torch.autograd.grad(both(x, state)[0].sum(), x)[0].any()
    # With the cell alone the output still changes, because its tanh reads the cell before zoneout.
    output, _ = make(zoneout_cell=1.0)(x, state)
    assert not torch.equal(output[0], output[1])
    assert torch.autograd.grad(output.sum(), x)[0].abs().min() > 0


def test_one_seed_draws_the_same_calls_again() -> None:
    layer = make(zoneout_cell=0.5, zoneout_hidden=0.1, recurrent_dropout=0.2, weight_dropout=0.3, layers=2, dropout=0.4)
    x, _ = data()
    torch.manual_seed(7)
    first, second = layer(x)[0], layer(x)[0]
    torch.manual_seed(7)
    assert torch.equal(layer(x)[0], first)
    assert torch.equal(layer(x)[0], second)
    assert not torch.equal(first, second)


def test_evaluation_draws_nothing() -> None:
    layer = make(
        zoneout_cell=0.5, zoneout_hidden=0.1, recurrent_dropout=0.2, weight_dropout=0.3, layers=2, dropout=0.4
    ).eval()
    x, _ = data()
    before = torch.get_rng_state()
    assert torch.equal(layer(x)[0], layer(x)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_pieces_of_a_sequence_with_carried_state_are_the_whole() -> None:
    layer = make(zoneout_cell=0.5, zoneout_hidden=0.1, norm="layer").eval()
    x, state = data()
    whole, (h, c) = layer(x, state)
    first, state = layer(x[:4], state)
    second, (h_2, c_2) = layer(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close((h_2, c_2), (h, c), rtol=1e-12, atol=1e-14)


def test_an_example_does_not_depend_on_the_others() -> None:
    layer = make(zoneout_cell=0.5, zoneout_hidden=0.1, norm="layer").eval()
    x, (h, c) = data()
    whole, _ = layer(x, (h, c))
    alone, _ = layer(x[:, 1:2], (h[:, 1:2], c[:, 1:2]))
    torch.testing.assert_close(alone, whole[:, 1:2], rtol=1e-12, atol=1e-14)


def test_shards_of_a_batch_draw_the_masks_of_the_whole() -> None:
    layer = make(zoneout_cell=0.5, zoneout_hidden=0.1, recurrent_dropout=0.2, weight_dropout=0.3, layers=2, dropout=0.4)
    x, _ = data()
    torch.manual_seed(7)
    whole, _ = layer(x)
    torch.manual_seed(7)
    with lnn.random.first_row(1):
        shard, _ = layer(x[:, 1:])
    torch.testing.assert_close(shard, whole[:, 1:], rtol=1e-12, atol=1e-14)


# ------------------------------------------------------------------------------------------------------ weight dropout


def test_weight_dropout_touches_the_first_step_through_the_state_only() -> None:
    layer, plain = make(weight_dropout=0.5), make()
    x, state = data()
    dropped, whole = layer(x)[0], plain(x)[0]
    torch.testing.assert_close(dropped[0], whole[0], rtol=1e-12, atol=1e-14)
    assert not torch.isclose(dropped[1:], whole[1:]).all(-1).any()
    torch.testing.assert_close(layer.eval()(x, state)[0], plain(x, state)[0], rtol=0, atol=0)


def test_weight_dropout_drops_the_gradient_too() -> None:
    layer = make(weight_dropout=0.5)
    x, state = data()
    torch.manual_seed(3)
    layer(x, state)[0].sum().backward()
    dropped = bernoulli(next_key(3), 0, Kind.WEIGHT_DROPOUT, 0.5, 1, 4 * H, H)[0]
    assert torch.equal(layer.weight_hh_l0.grad == 0, dropped)


def test_weight_dropout_on_the_vendor_path_equals_the_reference() -> None:
    x, state = data(layers=2)
    outputs = []
    for backend in ("cudnn", "reference"):
        layer = make(weight_dropout=0.4, layers=2, dropout=0.3, backend=backend)
        torch.manual_seed(3)
        outputs.append(layer(x, state)[0])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-12, atol=1e-14)


# --------------------------------------------------------------------------------------------------- recurrent dropout


def test_recurrent_dropout_of_everything_leaves_the_forgotten_cell() -> None:
    layer = make(recurrent_dropout=1.0)
    x, (h, c) = data(steps=1)
    _, (h_n, c_n) = layer(x, (h, c))
    gates = x[0] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h[0] @ layer.weight_hh_l0.T + layer.bias_hh_l0
    torch.testing.assert_close(c_n[0], torch.sigmoid(gates[:, H : 2 * H]) * c[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(h_n[0], torch.sigmoid(gates[:, 3 * H :]) * torch.tanh(c_n[0]), rtol=1e-12, atol=1e-14)


# ----------------------------------------------------------------------------------------------------------- layer norm


def test_layer_norm_does_not_see_the_scale_of_the_input() -> None:
    layer = make(norm="layer", bias=False)
    x, state = data()
    scales = torch.tensor([3.0, 50.0, 0.7], dtype=F64)[None, :, None]
    # ε = 1e-5 keeps this from being exact.
    torch.testing.assert_close(layer(x * scales, state)[0], layer(x, state)[0], rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        before = layer(x, state)[0]
        layer.weight_hh_l0 *= 100
        torch.testing.assert_close(layer(x, state)[0], before, rtol=1e-2, atol=1e-3)


def test_layer_norm_parameters() -> None:
    names = {name: tuple(p.shape) for name, p in make(norm="layer", layers=2).named_parameters() if "norm" in name}
    assert names == {
        f"{name}_l{k}": (size,)
        for k in range(2)
        for name, size in {"norm_ih": 4 * H, "norm_hh": 4 * H, "norm_c": H, "norm_c_bias": H}.items()
    }
    layer = make(norm="layer")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(7.0)
    layer.reset_parameters()
    assert (layer.norm_ih_l0 == 1).all()
    assert (layer.norm_c_bias_l0 == 0).all()
    assert layer.weight_hh_l0.abs().max() <= 1 / math.sqrt(H)
    assert "norm_c_bias_l0" not in dict(make(norm="layer", bias=False).named_parameters())


# ------------------------------------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_gradcheck(options: dict[str, object], training: bool) -> None:
    torch.manual_seed(0)
    layer = lnn.LSTM(2, 3, dtype=F64, **options).train(training)
    x = torch.randn(3, 2, 2, dtype=F64, requires_grad=True)
    state = [torch.randn(1, 2, 3, dtype=F64, requires_grad=True) for _ in range(2)]
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(5)  # the same masks at every evaluation
        output, (_, c_n) = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, (h, c)))
        return output, c_n

    assert torch.autograd.gradcheck(run, (x, *state, *layer.parameters()), fast_mode=True)


def test_parameter_counts_of_the_published_model() -> None:
    # Character PTB of the zoneout paper: 50 symbols, one-hot, 1000 units; one bias more than the authors have.
    layer = lnn.LSTM(50, 1000, device="meta")
    assert sum(p.numel() for p in layer.parameters()) == 4 * 1000 * (50 + 1000) + 2 * 4000
    assert sum(p.numel() for p in nn.Linear(1000, 50, device="meta").parameters()) == 50_050
