"""Initialisations, gate by gate."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import lsseq.nn as lnn

LAYERS = [
    lambda: lnn.LSTM(7, 6, 2, norm="layer"),
    lambda: lnn.GRU(7, 6, 2, reset="before"),
    lambda: nn.RNN(7, 6, bidirectional=True),
    lambda: nn.LSTM(7, 6, proj_size=3),
]


@pytest.mark.parametrize("make", LAYERS)
def test_orthogonal(make) -> None:
    layer = make()
    lnn.init.orthogonal_(layer)
    for name, parameter in layer.named_parameters():
        if name.startswith("weight"):
            gates = parameter.split(parameter.shape[0] if "hr" in name else 6)
            assert len(gates) == (1 if "hr" in name else len(layer.weight_ih_l0) // 6)
            for gate in gates:
                product = gate @ gate.T if gate.shape[0] <= gate.shape[1] else gate.T @ gate
                torch.testing.assert_close(product, torch.eye(len(product)), rtol=0, atol=1e-5)
        elif name.startswith("bias"):
            assert not parameter.any()
        else:
            assert parameter.unique().tolist() == [0.0 if "bias" in name else 1.0]


@pytest.mark.parametrize("make", LAYERS)
def test_glorot(make) -> None:
    torch.manual_seed(0)
    layer = make()
    lnn.init.glorot_(layer)
    for name, parameter in layer.named_parameters():
        if name.startswith("weight"):
            rows = parameter.shape[0] if "hr" in name else 6
            bound = math.sqrt(6 / (rows + parameter.shape[1]))
            for gate in parameter.split(rows):
                assert 0.7 * bound < gate.abs().max() <= bound
        elif name.startswith("bias"):
            assert not parameter.any()


def test_uniform() -> None:
    layer = lnn.LSTM(30, 30, norm="layer")
    lnn.init.uniform_(layer, 0.04)
    for name, parameter in layer.named_parameters():
        if name.startswith("norm"):
            assert parameter.unique().tolist() == [0.0 if "bias" in name else 1.0]
        else:
            assert 0.03 < parameter.abs().max() <= 0.04


def test_forget_bias() -> None:
    layer = lnn.LSTM(7, 6, 2, bidirectional=True)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    lnn.init.forget_bias_(layer, 1.5)
    for k, suffix in ((0, ""), (1, ""), (0, "_reverse"), (1, "_reverse")):
        own, other = (getattr(layer, f"bias_{of}_l{k}{suffix}") for of in ("ih", "hh"))
        assert (own + other)[6:12].tolist() == [1.5] * 6
        assert not other[6:12].any()
    for name, parameter in layer.named_parameters():
        changed = parameter != before[name]
        assert not (changed[:6].any() or changed[12:].any() if name.startswith("bias") else changed.any())


def test_carry_bias() -> None:
    """At +800 the gate is 1 and the state is passed on as it is; the other gates' biases stay."""
    layer = lnn.GRU(7, 6, 2, rank=2, dtype=torch.float64)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    lnn.init.carry_bias_(layer, 800.0)
    x, h = torch.randn(5, 3, 7, dtype=torch.float64), torch.randn(2, 3, 6, dtype=torch.float64)
    assert torch.equal(layer(x, h)[1], h)
    for name, parameter in layer.named_parameters():
        changed = parameter != before[name]
        assert not (changed[:6].any() or changed[12:].any() if name.startswith("bias") else changed.any())


@pytest.mark.parametrize("layer", [lnn.LSTM(3, 4), lnn.GRU(3, 4, bias=False)])
def test_carry_bias_needs_one(layer: nn.RNNBase) -> None:
    with pytest.raises(ValueError, match=r"^a carry bias needs a GRU with biases$"):
        lnn.init.carry_bias_(layer, 1.0)


@pytest.mark.parametrize("layer", [lnn.GRU(3, 4), lnn.LSTM(3, 4, bias=False)])
def test_forget_bias_needs_one(layer: nn.RNNBase) -> None:
    with pytest.raises(ValueError, match=r"^a forget bias needs an LSTM with biases$"):
        lnn.init.forget_bias_(layer, 1.0)


NOT_SERVED = [
    lambda: lnn.FastSlow([lnn.LSTM(4, 4), lnn.LSTM(4, 4)], lnn.LSTM(4, 4)),
    lambda: lnn.ResidualStack([lnn.LSTM(4, 4)]),
    lambda: nn.Linear(4, 4),
]


@pytest.mark.parametrize("make", [*NOT_SERVED, lambda: lnn.HMLSTM(4, 4), lambda: lnn.Highway(4, 2)])
@pytest.mark.parametrize("initialise", [lnn.init.orthogonal_, lnn.init.glorot_])
def test_modules_without_gates_of_one_size_are_refused(initialise, make) -> None:
    with pytest.raises(TypeError, match="expected a recurrent layer"):
        initialise(make())


@pytest.mark.parametrize("make", NOT_SERVED)
def test_uniform_weights_of_modules_that_have_none_are_refused(make) -> None:
    with pytest.raises(TypeError, match="expected a recurrent layer, got a"):
        lnn.init.uniform_(make(), 0.1)


@pytest.mark.parametrize("make", [lambda: lnn.HMLSTM(9, 9), lambda: lnn.Highway(9, 2), lambda: lnn.MogrifierLSTM(9, 9)])
def test_uniform_serves_all_that_has_weights(make) -> None:
    layer = make()
    lnn.init.uniform_(layer, 0.04)
    assert all(0.01 < parameter.abs().max() <= 0.04 for parameter in layer.parameters())


@pytest.mark.parametrize("initialise", [lnn.init.orthogonal_, lnn.init.glorot_])
def test_gatings_of_a_mogrifier_lstm_stay(initialise) -> None:
    layer = lnn.MogrifierLSTM(5, 4, rank=2)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    initialise(layer)
    same = [name for name, value in layer.state_dict().items() if torch.equal(value, before[name])]
    assert same == [name for name in before if name.startswith("gate_")]
