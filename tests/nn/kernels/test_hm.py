"""The fused HM-LSTM against the reference: results and every gradient, over boundary patterns, options and sizes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from parity import assert_close, needs_kernels, poison_new_memory
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.kernels.cpu import hm, native

pytestmark = needs_kernels

F64 = torch.float64
OPTIONS: list[dict[str, Any]] = [
    {},
    {"gradient": "select"},
    {"on_copy": "hold"},
    {"nested": True},
    {"flush": False},
    {"top_down": False},
    {"flush": False, "top_down": False, "gradient": "select"},
    {"zoneout_cell": 0.3, "zoneout_hidden": 0.2},
    {"detector": "sample", "slope": 0.3},
    {"slope": 3.0},
    {"norm": "layer"},
    {"norm": "layer", "gradient": "select", "on_copy": "hold"},
    {"norm": "layer", "flush": False, "zoneout_cell": 0.3, "zoneout_hidden": 0.2},
    {"norm": "layer", "top_down": False, "nested": True},
]
SIZES = [(5, [8, 8], 3, 6), (9, [17, 33, 20], 5, 12), (5, [6, 7, 8, 9], 4, 7), (1, [1, 1, 1], 1, 3), (70, [5, 4], 2, 2)]


def run(
    options: dict[str, Any],
    batch: int,
    hidden: list[int],
    size: int,
    steps: int,
    *,
    rate: float | None,
    seed: int,
    through: bool = True,
    training: bool = True,
    silent: Collection[str] = (),
    dtype: torch.dtype = F64,
) -> dict[str, Tensor]:
    """All results and gradients of a layer, the same layer and data for the same arguments but `backend`.

    No gradient arrives at the results that are `silent`.
    """
    torch.manual_seed(seed)
    layer = lnn.HMLSTM(size, hidden, len(hidden), dtype=dtype, **options).train(training)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter) / max(1, parameter[0].numel()) ** 0.5)
            if name.startswith("norm"):
                parameter.mul_(0.4)  # small gains, so that rounding errors do not grow
    x = torch.randn(steps, batch, size, dtype=dtype, requires_grad=True)
    h, c = (tuple((0.5 * torch.randn(batch, H, dtype=dtype)).requires_grad_() for H in hidden) for _ in range(2))
    z = tuple(torch.randint(2, (batch, 1)).to(dtype).requires_grad_() for _ in hidden[:-1])
    forced = None if rate is None else (torch.rand(steps, batch, len(hidden) - 1) < rate).to(dtype)
    result = layer(x, (h, c, (*z, torch.zeros(batch, 1, dtype=dtype))), forced, straight_through=through)
    named = {f"output {k}": output for k, output in enumerate(result.outputs)}
    named |= {"boundaries": result.boundaries, "probabilities": result.probabilities, "sums": result.sums}
    named |= {
        f"last {n}{k}": part for n, parts in zip("hcz", result.state, strict=True) for k, part in enumerate(parts)
    }
    seen = [part for name, part in named.items() if name not in silent]
    loss = sum((part * torch.randn(part.shape, dtype=dtype)).sum() for part in seen)
    leaves = {"x": x, **{f"{n}{k}": t for n, ts in (("h", h), ("c", c), ("z", z)) for k, t in enumerate(ts)}}
    leaves |= dict(layer.named_parameters())
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return named | {
        f"gradient of {name}": torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), grads, strict=True)
    }


def assert_parity(options: dict[str, Any], *arguments: Any, tolerance: float = 1e-10, **others: Any) -> None:
    want = run({**options, "backend": "reference"}, *arguments, **others)
    got = run({**options, "backend": "fused"}, *arguments, **others)
    assert_close(got, want, tolerance)


def is_defined(options: dict[str, Any], hidden: list[int]) -> bool:
    """Whether results are more than rounding errors, of which the norm of a single value is made."""
    return "norm" not in options or 1 not in hidden


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rate", [None, 0.4])
def test_parity(options: dict[str, Any], rate: float | None) -> None:
    for seed, sizes in enumerate(SIZES):
        if is_defined(options, sizes[1]):
            assert_parity(options, *sizes, rate=rate, seed=seed)


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("gradient", ["product", "select"])
@pytest.mark.parametrize("through", [True, False])
def test_forced_patterns(rate: float, gradient: str, through: bool) -> None:
    assert_parity({"gradient": gradient}, 6, [9, 8, 7], 4, 20, rate=rate, seed=1, through=through)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 9),
    hidden=st.lists(st.integers(1, 19), min_size=2, max_size=4),
    size=st.integers(1, 5),
    steps=st.integers(1, 9),
    rate=st.one_of(st.none(), st.floats(0, 1)),
    options=st.sampled_from(OPTIONS),
    training=st.booleans(),
    silent=st.sets(st.sampled_from(["boundaries", "probabilities", "sums"])),
    seed=st.integers(0, 2**31),
)
def test_parity_everywhere(
    batch: int,
    hidden: list[int],
    size: int,
    steps: int,
    rate: float | None,
    options: dict[str, Any],
    training: bool,
    silent: set[str],
    seed: int,
) -> None:
    assume(is_defined(options, hidden))
    assert_parity(options, batch, hidden, size, steps, rate=rate, training=training, silent=silent, seed=seed)


@pytest.mark.parametrize("norm", [None, "layer"])
@pytest.mark.parametrize("gradient", ["product", "select"])
def test_parity_in_float32(norm: str | None, gradient: str) -> None:
    options = {"norm": norm, "gradient": gradient}
    assert_parity(options, 8, [32, 48, 16], 8, 30, rate=0.3, seed=3, dtype=torch.float32, tolerance=1e-5)


def test_memory_that_nobody_wrote_to_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    options = [{}, {"norm": "layer"}, {"norm": "layer", "flush": False, "top_down": False}]
    arguments: Any = (7, [9, 6, 11], 4, 12)
    clean = [run({**option, "backend": "fused"}, *arguments, rate=0.4, seed=2) for option in options]
    poison_new_memory(monkeypatch)
    for option, want in zip(options, clean, strict=True):
        got = run({**option, "backend": "fused"}, *arguments, rate=0.4, seed=2)
        assert all(torch.equal(got[name], right) for name, right in want.items())


@pytest.mark.parametrize("norm", [None, "layer"])
def test_threads_change_no_bit(norm: str | None) -> None:
    arguments: Any = ({"zoneout_cell": 0.2, "norm": norm, "backend": "fused"}, 64, [128, 130, 64], 8, 6)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(run(*arguments, rate=0.3, seed=1))
    finally:
        torch.set_num_threads(before)
    for name in found[0]:
        if name.startswith(("output", "boundaries", "probabilities", "sums", "last")):
            assert torch.equal(found[0][name], found[1][name]), name
        else:  # of the detectors, PyTorch multiplies
            torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", [None, "layer"])
def test_without_gradients_and_windows(norm: Literal["layer"] | None) -> None:
    torch.manual_seed(0)
    layer = lnn.HMLSTM(4, [16, 8, 8], 3, norm=norm, dtype=F64, backend="fused")
    x = torch.randn(11, 5, 4, dtype=F64)
    whole = layer(x)
    with torch.no_grad():
        first = layer(x[:6])
        second = layer(x[6:], first.state)
    for k in range(3):
        # Few rows with the input are multiplied by PyTorch, and other numbers of rows give other last bits.
        both = torch.cat([first.outputs[k], second.outputs[k]])
        torch.testing.assert_close(both, whole.outputs[k], rtol=1e-12, atol=1e-14)
    assert torch.equal(torch.cat([first.boundaries, second.boundaries]), whole.boundaries)
    assert not second.outputs[0].requires_grad


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rate", [None, 0.0, 0.2, 1.0])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_events_that_are_not_kept_change_no_bit(
    options: dict[str, Any], rate: float | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "threads", lambda *_: threads)
    found = []
    for saves in (True, False):
        torch.manual_seed(1)
        layer = lnn.HMLSTM(4, [19, 8, 11], 3, dtype=F64, backend="fused", **options)
        x = torch.randn(50, 5, 4, dtype=F64)
        forced = None if rate is None else (torch.rand(50, 5, 2) < rate).to(F64)
        with torch.set_grad_enabled(saves):
            found.append(layer(x, None, forced))
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_memory_of_evaluation_does_not_grow_with_the_states() -> None:
    layer = lnn.HMLSTM(4, 64, 3, backend="fused")
    states = {tensor.data_ptr(): tensor.nbytes for T in (50, 500) for tensor in _events(layer, torch.randn(T, 8, 4))}
    assert len(set(states.values())) == 1


def _events(layer: lnn.HMLSTM, x: Tensor) -> list[Tensor]:
    """The memory for h of the events of each layer in evaluation."""
    found = []
    run_forward = hm._run_forward

    def spy(*arguments: Any, **options: Any) -> dict[str, Tensor]:
        arrays = run_forward(*arguments, **options)
        found.extend(arrays[f"{k}.h"] for k in range(layer.num_layers))
        return arrays

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(hm, "_run_forward", spy)
        layer(x)
    return found


def test_a_second_backward_gives_the_same_and_a_second_derivative_is_refused() -> None:
    layer = lnn.HMLSTM(3, 5, 2, norm="layer", dtype=F64, backend="fused")
    x = torch.randn(6, 2, 3, dtype=F64, requires_grad=True)
    result = layer(x)
    loss = result.outputs[1].square().sum() + result.state[0][0].sum()
    first = torch.autograd.grad(loss, [x, *layer.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [x, *layer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    (grad,) = torch.autograd.grad(layer(x).outputs[1].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize("norm", [None, "layer"])
def test_an_input_that_wants_no_gradient(norm: Literal["layer"] | None) -> None:
    torch.manual_seed(0)
    layer, x = lnn.HMLSTM(3, 5, 2, norm=norm, dtype=F64, backend="fused"), torch.randn(6, 2, 3, dtype=F64)
    found = [
        torch.autograd.grad(layer(given).outputs[1].sum(), list(layer.parameters()))
        for given in (x, x.clone().requires_grad_())
    ]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_what_is_given_has_one_dtype() -> None:
    layer, x = lnn.HMLSTM(3, 5, 2, dtype=F64, backend="fused"), torch.randn(6, 2, 3)
    with pytest.raises(ValueError, match=r"parameters of one dtype, got torch\.float32, torch\.float64"):
        layer(x)


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_state_takes_the_dtype_of_the_parameters(backend: Literal["fused", "reference"]) -> None:
    layer, x = lnn.HMLSTM(3, 5, 2, zoneout_cell=0.1, backend=backend).eval(), torch.randn(6, 2, 3)
    state = layer(x).state
    want = layer(x, state)
    got = layer(x, tuple(tuple(part.double() for part in parts) for parts in state))
    assert torch.equal(got.outputs[1], want.outputs[1])
    assert torch.equal(got.state[1][1], want.state[1][1])


def test_choice() -> None:
    for norm in (None, "layer"):
        assert lnn.HMLSTM(3, 4, norm=norm).explain().startswith("HMLSTM: fused (this project's kernels in C")  # type: ignore[arg-type]
    for options, name in [
        ({"detector": "soft"}, "detector='soft'"),
        ({"copy_top": False}, "copy_top=False"),
    ]:
        reason = f"and the fused kernels cannot serve {name}"
        assert lnn.HMLSTM(3, 4, **options).explain().endswith(reason)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="backend='fused'"):
            lnn.HMLSTM(3, 4, backend="fused", **options)(torch.zeros(2, 1, 3))  # type: ignore[arg-type]
    assert lnn.HMLSTM(3, 4, 1).explain().endswith("cannot serve num_layers=1")
