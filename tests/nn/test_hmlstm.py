"""The HM-LSTM against an independent implementation, its limits, its gradients, its states."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hm_by_hand import F64, SIZES, B, I, T, by_hand, data, initial, patterns
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.nn.cells.hmlstm import HMLSTMCell
from lsseq.nn.kernels.hierarchy import make_cell
from lsseq.nn.random import Draws, Kind


def make(**options: Any) -> lnn.HMLSTM:
    torch.manual_seed(options.pop("seed", 0))
    layer = lnn.HMLSTM(I, SIZES, 3, dtype=F64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


VARIANTS: list[dict[str, Any]] = [
    {},
    {"norm": "layer"},
    {"gradient": "select"},
    {"on_copy": "hold"},
    {"nested": True},
    {"top_down": False},
    {"flush": False},
    {"copy_top": False},
    {"slope": 4.0},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("forced", [False, True])
def test_equals_an_independent_implementation(options: dict[str, Any], forced: bool) -> None:
    layer, x, state = make(**options), data(), initial()
    given = patterns() if forced else None
    result = layer(x, state, given)
    outputs, boundaries, sums = by_hand(layer, x, state, given)
    assert 0 < boundaries.mean() < 1
    assert np.array_equal(result.boundaries.detach().numpy(), boundaries)
    for got, want in zip((*result.outputs, result.sums), (*outputs, sums), strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-11, atol=1e-13)


def test_worked_example() -> None:
    layer = lnn.HMLSTM(1, 1, 3, dtype=F64)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.fill_(0.5 if name.startswith("weight") else 0.0)
        for k in range(2):
            layer.get_parameter(f"bias_l{k}")[-1] = -0.1
    result = layer(torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=F64).view(4, 1, 1))
    h = [[0.174269718656105, -0.060786462267102, 0.106855288893432, 0.202231647645164]]
    h += [
        [0.023645869492260, 0.023645869492260, 0.029426437881278, 0.048089259762127],
        [0.0, 0.0, 0.0, 0.006155065528542],
    ]
    for got, want in zip(result.outputs, h, strict=True):
        np.testing.assert_allclose(got.detach().flatten(), want, rtol=1e-12, atol=1e-15)
    assert result.boundaries.squeeze(1).tolist() == [[1, 0], [0, 0], [1, 0], [1, 1]]
    probabilities = [
        [0.70, 0.493567429664026],
        [0.249478897037091, 0.455911467373065],
        [0.684803384433224, 0.482625289596423],
        [0.734070431693678, 0.507914521381611],
    ]
    np.testing.assert_allclose(result.probabilities.detach().squeeze(1), probabilities, rtol=1e-12)
    np.testing.assert_allclose(result.sums.detach().squeeze(1), 2 * np.array(probabilities) - 1, rtol=1e-11)
    c = torch.cat(result.state[1]).detach().flatten()
    np.testing.assert_allclose(c, [0.328098999870903, 0.091170644528876, 0.012164499845807], rtol=1e-12)


def plain_lstm(layer: lnn.HMLSTM, k: int) -> nn.LSTM:
    lstm = nn.LSTM(layer.get_parameter(f"weight_ih_l{k}").shape[1], SIZES[k], dtype=F64)
    rows = 4 * SIZES[k]
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh"):
            lstm.get_parameter(f"{name}_l0").copy_(layer.get_parameter(f"{name}_l{k}")[:rows])
        lstm.bias_ih_l0.copy_(layer.get_parameter(f"bias_l{k}")[:rows])
        lstm.bias_hh_l0.zero_()
    return lstm


def test_without_boundaries_the_first_layer_is_an_lstm_and_the_others_stay() -> None:
    layer, x, (h, c, _) = make(), data(), initial()
    state = h, c, tuple(torch.zeros(B, 1, dtype=F64) for _ in SIZES)
    result = layer(x, state, torch.zeros(T, B, 2, dtype=F64))
    want, _ = plain_lstm(layer, 0)(x, (h[0][None], c[0][None]))
    torch.testing.assert_close(result.outputs[0], want, rtol=1e-12, atol=1e-13)
    for k in (1, 2):
        assert all(torch.equal(output, h[k]) for output in result.outputs[k])
        assert torch.equal(result.state[1][k], c[k])


def test_with_boundaries_everywhere_the_top_layer_is_an_lstm_and_the_others_have_no_memory_but_h() -> None:
    layer, x, state = make(), data(), initial()
    h, c, _ = state
    everywhere = torch.ones(T, B, 2, dtype=F64)
    result = layer(x, state, everywhere)
    want, _ = plain_lstm(layer, 2)(result.outputs[1], (h[2][None], c[2][None]))
    torch.testing.assert_close(result.outputs[2], want, rtol=1e-12, atol=1e-13)
    ones, zeros = torch.ones(B, 1, dtype=F64), torch.zeros(B, 1, dtype=F64)
    again = layer(x, (h, c, (ones, ones, zeros)), everywhere)
    other = layer(x, (h, (100 * c[0], 100 * c[1], c[2]), (ones, ones, zeros)), everywhere)
    assert all(torch.equal(a, b) for a, b in zip(again.outputs, other.outputs, strict=True))


def test_stacked_lstm_without_flush_and_top_down() -> None:
    layer, x = make(flush=False, top_down=False), data()
    output = x
    for k in range(3):
        output, _ = plain_lstm(layer, k)(output)
    result = layer(x, None, torch.ones(T, B, 2, dtype=F64))
    torch.testing.assert_close(result.outputs[2], output, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("options", [{}, {"norm": "layer"}, {"zoneout_cell": 0.5, "zoneout_hidden": 0.3}], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_a_copy_changes_no_bit(options: dict[str, Any], training: bool) -> None:
    layer, x, state = make(**options).train(training), data(), initial()
    given = patterns(rate=0.3)
    result = layer(x, state, given)
    h_before = torch.cat([state[0][1][None], result.outputs[1][:-1]])
    z_before = torch.cat([state[2][1][None], given[:-1, :, 1:]])
    copies = ((z_before == 0) & (given[..., :1] == 0)).squeeze(-1)
    assert 0 < copies.sum() < copies.numel()
    assert torch.equal(result.outputs[1][copies], h_before[copies])
    assert not (result.outputs[1] == h_before).all(-1)[~copies].any()


def test_slope_changes_the_gradient_only() -> None:
    layer, x = make(), data()
    first = layer(x)
    layer.slope = 3.0
    second = layer(x)
    assert all(torch.equal(a, b) for a, b in zip(first.outputs, second.outputs, strict=True))
    grads = [
        torch.autograd.grad(sum(output.sum() for output in result.outputs), layer.bias_l0)[0]
        for result in (first, second)
    ]
    assert not torch.equal(*grads)


def test_one_layer_is_an_lstm() -> None:
    torch.manual_seed(0)
    layer = lnn.HMLSTM(I, 5, 1, dtype=F64)
    layer_of = nn.LSTM(I, 5, dtype=F64)
    with torch.no_grad():
        layer_of.weight_ih_l0.copy_(layer.weight_ih_l0)
        layer_of.weight_hh_l0.copy_(layer.weight_hh_l0)
        layer_of.bias_ih_l0.zero_()
        layer_of.bias_hh_l0.zero_()
    result = layer(data())
    torch.testing.assert_close(result.outputs[0], layer_of(data())[0], rtol=1e-12, atol=1e-13)
    assert result.boundaries.shape == result.probabilities.shape == result.sums.shape == (T, B, 0)


@pytest.mark.parametrize("options", [{}, {"norm": "layer"}, {"zoneout_cell": 0.3}], ids=str)
def test_two_windows_are_one(options: dict[str, Any]) -> None:
    layer, x = make(**options).eval(), data()
    whole = layer(x)
    first = layer(x[:4])
    second = layer(x[4:], first.state)
    for k in range(3):
        assert torch.equal(torch.cat([first.outputs[k], second.outputs[k]]), whole.outputs[k])
    assert torch.equal(torch.cat([first.boundaries, second.boundaries]), whole.boundaries)
    assert first.state[2][0].any() or first.state[2][1].any()
    zeroed = (*first.state[:2], tuple(torch.zeros_like(z) for z in first.state[2]))
    assert not torch.equal(layer(x[4:], zeroed).outputs[0], second.outputs[0])


def test_rows_of_the_batch_are_independent() -> None:
    layer, x, state = make(), data(), initial()
    order = torch.tensor([2, 0, 3, 1])
    whole = layer(x, state)
    moved = layer(x[:, order], tuple(tuple(part[order] for part in parts) for parts in state))
    for a, b in zip(whole.outputs, moved.outputs, strict=True):
        torch.testing.assert_close(a[:, order], b, rtol=1e-13, atol=1e-14)


def loss_of(layer: lnn.HMLSTM, x: Tensor, state: Any, given: Tensor | None) -> Tensor:
    result = layer(x, state, given)
    g = torch.Generator().manual_seed(5)
    parts = (*result.outputs, *result.state[0], *result.state[1])
    return sum((part * torch.randn(part.shape, dtype=F64, generator=g)).sum() for part in parts)


def surrogate(layer: lnn.HMLSTM, x: Tensor, state: Any, hard: Tensor, soft: Tensor) -> float:
    """The loss with z = hard + (z̃ - soft): forced values that follow the probabilities of the current parameters."""
    hierarchy = layer._hierarchy(None, True)
    cells = [make_cell(hierarchy, k, x) for k in range(3)]
    states = layer._given(state, x.shape[1])
    outputs: list[list[Tensor]] = [[], [], []]
    for t in range(len(x)):
        before, states = states, []
        for k, cell in enumerate(cells):
            below = x[t] if k == 0 else states[k - 1].h
            z_below = x.new_ones(x.shape[1], 1) if k == 0 else states[k - 1].z
            above = before[k + 1].h if k < 2 else None
            frozen = before[k]
            if layer.gradient == "select":
                # The operation is that of the frozen boundaries; the terms see the moving ones.
                z0 = (hard[t - 1, :, k : k + 1] if t else state[2][k]) if k < 2 else torch.zeros_like(frozen.z)
                zb0 = torch.ones_like(z_below) if k == 0 else hard[t, :, k - 1 : k]
                operations = HMLSTMCell._operations(cell, z0, zb0)
                object.__setattr__(cell, "_operations", lambda *_, found=operations: found)
            new, finding = cell.step(cell.from_below(below), z_below, above, frozen, t)
            if finding is not None:
                z = hard[t, :, k : k + 1] + finding.probability - soft[t, :, k : k + 1]
                new = new._replace(z=z)
            states.append(new)
            outputs[k].append(new.h)
    g = torch.Generator().manual_seed(5)
    parts = [*(torch.stack(o) for o in outputs), *(s.h for s in states), *(s.c for s in states)]
    return float(sum((part * torch.randn(part.shape, dtype=F64, generator=g)).sum() for part in parts))


@pytest.mark.parametrize("gradient", ["product", "select"])
@pytest.mark.parametrize("forced", [False, True])
def test_straight_through_gradient_is_that_of_the_frozen_surrogate(gradient: str, forced: bool) -> None:
    layer, x, state = make(gradient=gradient, slope=0.7), data(steps=6), initial()
    given = patterns()[:6] if forced else None
    result = layer(x, state, given)
    hard, soft = result.boundaries.detach(), result.probabilities.detach()
    grads = torch.autograd.grad(loss_of(layer, x, state, given), list(layer.parameters()))
    for (name, parameter), grad in zip(layer.named_parameters(), grads, strict=True):
        for index in (0, parameter.numel() // 2, parameter.numel() - 1):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    flat = parameter.view(-1)
                    kept = flat[index].clone()
                    flat[index] += sign * 1e-6
                    values.append(surrogate(layer, x, state, hard, soft))
                    flat[index] = kept
            numeric = (values[0] - values[1]) / 2e-6
            assert grad.view(-1)[index].item() == pytest.approx(numeric, rel=1e-6, abs=1e-7), name


def test_soft_boundaries_are_differentiable() -> None:
    layer = make(detector="soft", slope=0.3)

    def run(x: Tensor) -> Tensor:
        return layer(x).outputs[2]

    assert torch.autograd.gradcheck(run, data(steps=4, batch=2).requires_grad_())


def test_forced_boundaries_hand_the_gradient_on_unless_told_not_to() -> None:
    x, given = data(), patterns()
    found = {}
    for gradient in ("product", "select"):
        layer = make(gradient=gradient)
        for through in (True, False):
            result = layer(x, None, given, straight_through=through)
            grads = torch.autograd.grad(
                sum(output.sum() for output in result.outputs), list(layer.parameters()), allow_unused=True
            )
            found[gradient, through] = dict(zip(dict(layer.named_parameters()), grads, strict=True))
    assert all(found[gradient, True]["weight_ih_l0"][-1].any() for gradient in ("product", "select"))
    for name, grad in found["product", False].items():
        assert torch.equal(grad, found["select", False][name])
        if name in ("weight_ih_l0", "weight_hh_l1"):
            assert not grad[-1].any()
    assert not torch.equal(found["product", True]["weight_ih_l0"], found["select", True]["weight_ih_l0"])


def test_samples_are_drawn_with_their_probability() -> None:
    torch.manual_seed(0)
    layer = lnn.HMLSTM(I, 5, 2, detector="sample", slope=0.3, dtype=F64)
    x = torch.zeros(1, 4000, I, dtype=F64)
    with torch.no_grad():
        layer.bias_l0[-1] = -1.0
        result = layer(x)
    p = float(result.probabilities[0, 0, 0])
    assert p == pytest.approx(0.35)
    assert abs(float(result.boundaries.mean()) - p) < 4 * math.sqrt(p * (1 - p) / 4000)
    assert not layer.eval()(x).boundaries.any()


def test_samples_come_from_the_documented_numbers() -> None:
    layer, x = make(detector="sample", slope=0.2), data()
    torch.manual_seed(7)
    key = int(torch.randint(0, 2**63 - 1, (), dtype=torch.int64))
    torch.manual_seed(7)
    result = layer(x)
    for k in range(2):
        numbers = Draws(key, k).uniform(Kind.BOUNDARY, (T, B, 1))
        assert torch.equal(result.boundaries[..., k : k + 1].bool(), numbers < result.probabilities[..., k : k + 1])


def test_zoneout_mixes_what_a_step_changes() -> None:
    x, given = data(batch=500), patterns(batch=500)
    layer = make(zoneout_hidden=0.4)
    with torch.no_grad():
        h = layer(x, None, given).outputs[1]
    z_before = torch.cat([torch.zeros(1, 500, 1, dtype=F64), given[:-1, :, 1:]])
    changes = ~((z_before == 0) & (given[..., :1] == 0)).squeeze(-1)
    kept = (h[1:] == h[:-1])[changes[1:]].double().mean()
    assert abs(float(kept) - 0.4) < 0.01


def test_copies_and_states() -> None:
    layer = make(norm="layer")
    again = copy.deepcopy(layer)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(data()).outputs[2], layer(data()).outputs[2])
    assert repr(lnn.HMLSTM(3, [4, 5], 2, norm="layer", slope=2.0)) == "HMLSTM(3, [4, 5], norm=layer, slope=2.0)"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3, [4, 5], 3), {}, "expected positive sizes and one hidden size a layer"),
        ((3, 0), {}, "expected positive sizes"),
        ((3, 4), {"detector": "hard"}, "detector should be one of 'step', 'sample', 'soft', got 'hard'"),
        ((3, 4), {"detector": "soft", "gradient": "select"}, "gradient should be one of 'product', got 'select'"),
        ((3, 4), {"zoneout_cell": 2.0}, r"zoneout_cell should be a number in range \[0, 1\], got 2.0"),
        ((3, 4), {"norm": "batch"}, "norm should be one of None, 'layer', got 'batch'"),
        ((3, 4), {"on_copy": "x"}, "on_copy should be one of 'compute', 'hold', got 'x'"),
    ],
)
def test_refusals(arguments: tuple, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lnn.HMLSTM(*arguments, **options)


def test_wrong_shapes_are_refused() -> None:
    layer = lnn.HMLSTM(3, 4)
    with pytest.raises(ValueError, match=r"expected an input \(T, B, 3\) with T > 0, got \(5, 2, 4\)"):
        layer(torch.zeros(5, 2, 4))
    with pytest.raises(ValueError, match=r"expected boundaries of shape \(5, 2, 2\), got \(5, 2, 3\)"):
        layer(torch.zeros(5, 2, 3), None, torch.zeros(5, 2, 3))
    with pytest.raises(ValueError, match=r"expected a state \(h, c, z\) of 3 tensors each"):
        layer(torch.zeros(5, 2, 3), ((), (), ()))
    state = layer(torch.zeros(5, 2, 3)).state
    with pytest.raises(ValueError, match=r"expected h of shape \(3, 4\), got \(2, 4\)"):
        layer(torch.zeros(5, 3, 3), state)


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_the_top_layer_has_no_boundary_whatever_is_given(backend: str) -> None:
    layer, x, (h, c, z) = make(backend=backend), data(), initial()
    top = torch.ones(B, 1, dtype=F64, requires_grad=True)
    got, want = (layer(x, (h, c, (*z[:2], one))) for one in (top, torch.zeros(B, 1, dtype=F64)))
    for a, b in zip((*got.outputs, *got.state[2]), (*want.outputs, *want.state[2]), strict=True):
        assert torch.equal(a, b)
    assert not got.state[2][2].any()
    assert torch.autograd.grad(got.outputs[2].sum(), top, allow_unused=True) == (None,)


@pytest.mark.parametrize("value", [0.5, 2.0, math.nan])
def test_boundaries_that_are_not_0_or_1_are_refused(value: float) -> None:
    given = patterns()
    given[1, 0, 1] = value
    with pytest.raises(ValueError, match=f"expected boundaries of 0 and 1, got {value}"):
        make()(data(), None, given)
    assert make(detector="soft")(data(), None, given).boundaries[1, 0, 1].isclose(given[1, 0, 1], equal_nan=True)
    assert torch.equal(make()(data(), None, patterns().bool()).outputs[2], make()(data(), None, patterns()).outputs[2])


def test_boundaries_that_are_given_have_a_gradient_in_the_reference_alone() -> None:
    given = patterns().requires_grad_()
    (gradient,) = torch.autograd.grad(make()(data(), None, given).outputs[2].sum(), given)
    assert gradient.any()
    with pytest.raises(ValueError, match="cannot serve a gradient of boundaries that are given"):
        make(backend="fused")(data(), None, given)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("zoneout", [0.0, 0.1])
def test_states_under_autocast_have_the_format_of_the_weights(zoneout: float, training: bool) -> None:
    layer = lnn.HMLSTM(3, 4, 2, zoneout_cell=zoneout, zoneout_hidden=zoneout).train(training)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = layer(torch.randn(5, 2, 3, dtype=torch.bfloat16))
        again = layer(torch.randn(5, 2, 3, dtype=torch.bfloat16), result.state)
    found = [part for one in (result, again) for parts in one.state for part in parts]
    assert {part.dtype for part in (*found, *again.outputs)} == {torch.float32}


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_an_input_of_another_dtype_is_refused(backend: str) -> None:
    with pytest.raises(ValueError, match=r"parameters of one dtype, got torch\.float32, torch\.float64"):
        make(backend=backend)(data().float())
