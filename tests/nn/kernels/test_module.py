"""Layers on the CPU kernels do what modules do: copies, saved states, gradients, what follows a call from outside."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from parity import FULL, PLAIN, Arguments, assert_close, data, make, needs_kernels, results
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from lsseq.nn.kernels.dispatch import kernel
from lsseq.nn.recurrent import Recurrent

pytestmark = needs_kernels

every_cell = pytest.mark.parametrize(("cell", "options"), [*PLAIN, *FULL], ids=str)


def copied(layer: Recurrent) -> Recurrent:
    return copy.deepcopy(layer)


def pickled(layer: Recurrent) -> Recurrent:
    return pickle.loads(pickle.dumps(layer))


def loaded(layer: Recurrent) -> Recurrent:
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    return other


@pytest.mark.parametrize("again", [copied, pickled, loaded])
@pytest.mark.parametrize(("cell", "options"), FULL, ids=str)
def test_copies_give_the_same_after_a_backward_pass(cell: str, options: Arguments, again: object) -> None:
    layer = make(cell, 4, 9, num_layers=2, **options)
    x, states = data(layer, 6, 3)
    want = results(layer, "fused", x, states)
    assert_close(results(again(layer), "fused", x, states), want, 0.0)  # type: ignore[operator]


@every_cell
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(cell: str, options: Arguments, mode: type) -> None:
    layer = make(cell, 4, 9, num_layers=2, backend="fused", **options)
    x, _ = data(layer, 6, 3)
    torch.manual_seed(3)
    want, _ = layer(x)
    torch.manual_seed(3)
    with mode():
        got, _ = layer(x)
    assert not got.requires_grad
    assert torch.equal(got, want)


@every_cell
def test_a_graph_that_is_kept_gives_the_same_gradients_again(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 9, backend="fused", **options)
    loss = layer(data(layer, 6, 3)[0])[0].square().sum()
    first = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(layer.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, list(layer.parameters()))


def test_a_second_derivative_is_refused() -> None:
    layer = make("LSTM", 4, 9, backend="fused")
    x = data(layer, 6, 3)[0].requires_grad_()
    (d_x,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="the fused kernels have no second derivative"):
        d_x.sum().backward()


@pytest.mark.parametrize("changed", ["output", "initial state", "weight"])
def test_what_the_backward_pass_needs_may_not_change_before_it(changed: str) -> None:
    layer = make("LSTM", 4, 9, backend="fused")
    x, (h0, c0) = data(layer, 6, 3)
    output, _ = layer(x, (h0, c0))
    with torch.no_grad():
        {"output": output, "initial state": h0, "weight": layer.weight_hh_l0}[changed].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.square().sum().backward()


@pytest.mark.parametrize("backend", ["fused", "reference"])
@every_cell
def test_last_states_are_the_callers_own(cell: str, options: Arguments, backend: str) -> None:
    layer = make(cell, 4, 9, backend=backend, **options)
    output, last = layer(data(layer, 6, 3)[0])
    before = output.detach().clone()
    for state in last if cell == "LSTM" else (last,):
        state.detach_().zero_()
    assert torch.equal(output, before)
    output.square().sum().backward()


@pytest.mark.parametrize(("cell", "options"), FULL, ids=str)
def test_recomputed_activations(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 9, num_layers=2, backend="fused", **options)
    x, _ = data(layer, 6, 3)
    found = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        torch.manual_seed(3)
        found.append(torch.autograd.grad(run(x)[0].square().sum(), list(layer.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# --------------------------------------------------------------------------------- what follows a call from outside


def test_autocast_takes_the_reference() -> None:
    layer = make("LSTM", 4, 9, torch.float32, zoneout_cell=0.5)
    x, states = data(layer, 6, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [results(layer, backend, x, states) for backend in ("auto", "reference")]
        assert layer.explain().startswith("LSTM: reference")
        with pytest.raises(ValueError, match=r"^backend='fused': the fused kernels serve neither autocast nor"):
            results(layer, "fused", x, states)
    assert_close(*found, 0.0)


def traced(layer: Recurrent, x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(layer, (x,), check_trace=False)(x)[0]


def exported(layer: Recurrent, x: Tensor) -> Tensor:
    return torch.export.export(layer, (x,), strict=False).module()(x)[0]


def symbolic(layer: Recurrent, x: Tensor) -> Tensor:
    return make_fx(lambda x: layer(x)[0])(x)(x)


def mapped(layer: Recurrent, x: Tensor) -> Tensor:
    return torch.vmap(lambda x: layer(x)[0])(x.unsqueeze(0)).squeeze(0)


@pytest.mark.parametrize("follow", [traced, exported, symbolic, mapped])
@pytest.mark.parametrize(("cell", "options"), FULL, ids=str)
def test_tracers_and_transforms_see_the_whole_computation(cell: str, options: Arguments, follow: object) -> None:
    layer = make(cell, 4, 9, **options).eval()
    x, _ = data(layer, 3, 2)
    with torch.no_grad():
        want, _ = layer(x)
        got = follow(layer, x)  # type: ignore[operator]
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("cell", "options"), FULL, ids=str)
def test_derivatives_of_other_kinds(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 9, **options).eval()
    x, _ = data(layer, 3, 2)
    want = torch.autograd.grad(layer(x.requires_grad_())[0].sum(), x)[0]
    torch.testing.assert_close(torch.func.grad(lambda x: layer(x)[0].sum())(x), want, rtol=1e-12, atol=1e-14)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, torch.ones_like(x)))[0]).tangent
    torch.testing.assert_close(tangent.sum(), want.sum(), rtol=1e-11, atol=1e-13)


def test_the_reference_is_another_kernel() -> None:
    # Else every comparison with it would be one of a thing with itself.
    assert kernel("LSTM", "fused", "cpu") is not kernel("LSTM", "reference", "cpu")
    layer = make("LSTM", 4, 9, zoneout_cell=0.5)
    x, states = data(layer, 6, 3)
    found = [results(layer, backend, x, states) for backend in ("fused", "reference")]
    assert not all(torch.equal(found[0][name], found[1][name]) for name in found[0])
