"""The fused recurrent highway network against the reference: results and every gradient, over options and sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, needs_kernels, poison_new_memory, weighted
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.kernels.cpu import native, sequence

pytestmark = needs_kernels

F32, F64 = torch.float32, torch.float64
TOLERANCE = {F32: 1e-5, F64: 1e-12}
RATES = {"zoneout_hidden": 0.3, "recurrent_dropout": 0.25, "state_dropout": 0.2}
LOW_RANK: list[dict[str, Any]] = [
    {"rank": 2},
    {"rank": 3, "diagonal": True},
    {"rank": 2, "tied_rank": True},
    {"rank": 2, "diagonal": True, "tied_rank": True, **RATES},
]
PLAIN: list[dict[str, Any]] = [{}, {"tied": True}]
FULL: list[dict[str, Any]] = [{**plain, **RATES, "norm": "layer"} for plain in PLAIN]
OPTIONS: list[dict[str, Any]] = [
    *PLAIN,
    *({name: rate} for name, rate in RATES.items()),
    {"norm": "layer"},
    {"tied": True, "norm": "layer"},
    *LOW_RANK,
    *({"tied": True, **options} for options in LOW_RANK),
    {"rank": 2, "diagonal": True, "norm": "layer"},
    {"tied": True, "rank": 2, "diagonal": True, "norm": "layer", **RATES},
    *FULL,
]
# T, B, I, H, K: one step and many, one row and several, fewer units than a vector has, and a remainder.
SIZES = [(1, 1, 3, 5, 1), (2, 5, 3, 17, 3), (1, 1, 4, 9, 2), (63, 5, 4, 37, 2), (3, 5, 2, 130, 3), (2, 40, 1, 16, 1)]
each_type = pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def make(inputs: int, units: int, depth: int, dtype: torch.dtype = F64, **options: Any) -> lnn.RHN:
    """A layer whose gains differ from 1 and whose biases from 0; small gains, so that rounding errors do not grow."""
    torch.manual_seed(0)
    layer = lnn.RHN(inputs, units, depth, dtype=dtype, **options)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("norm"):
                parameter.uniform_(-0.2, 0.2).add_(0.4)
            elif name.startswith("bias"):
                parameter.normal_(0.0, 0.5)
    return layer


def results(layer: lnn.RHN, backend: Any, steps: int, rows: int) -> dict[str, Tensor]:
    """What a layer gives, with gradients and without, and the gradients of a loss of it, by name."""
    layer.backend = backend
    g, dtype = torch.Generator().manual_seed(1), layer.weight_ih.dtype
    x = torch.randn(steps, rows, layer.input_size, dtype=dtype, generator=g).requires_grad_()
    h = torch.randn(1, rows, layer.hidden_size, dtype=dtype, generator=g).requires_grad_()
    sources = {"x": x, "initial h": h, **dict(layer.named_parameters())}
    torch.manual_seed(3)
    output, last = layer(x, h)
    loss = weighted(output, (last,))
    gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    found = {f"d {name}": d for name, d in zip(sources, gradients, strict=True) if d is not None}
    torch.manual_seed(3)
    with torch.no_grad():
        alone = layer(x, h)[0]
    return {"output": output, "last h": last, "output without gradients": alone, **found}


def assert_parity(layer: lnn.RHN, steps: int, rows: int, tolerance: float = 1e-12) -> None:
    assert_close(*(results(layer, backend, steps, rows) for backend in ("fused", "reference")), tolerance)


@each_type
@pytest.mark.parametrize("size", SIZES, ids=str)
@every_option
def test_parity(options: dict[str, Any], size: tuple[int, ...], dtype: torch.dtype) -> None:
    steps, rows, inputs, units, depth = size
    layer = make(inputs, units, depth, dtype, **options)
    assert_parity(layer, steps, rows, TOLERANCE[dtype])
    assert_parity(layer.eval(), steps, rows, TOLERANCE[dtype])


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 9),
    rows=st.integers(1, 9),
    inputs=st.integers(1, 5),
    units=st.integers(3, 21),
    depth=st.integers(1, 5),
    options=st.sampled_from(OPTIONS),
    training=st.booleans(),
)
def test_parity_everywhere(
    steps: int, rows: int, inputs: int, units: int, depth: int, options: dict[str, Any], training: bool
) -> None:
    assert_parity(make(inputs, units, depth, **options).train(training), steps, rows, 1e-11)


@each_type
@pytest.mark.parametrize("options", [*PLAIN, *FULL], ids=str)
def test_many_steps(options: dict[str, Any], dtype: torch.dtype) -> None:
    assert_parity(make(3, 9, 3, dtype, **options), 600, 2, {F32: 1e-5, F64: 1e-11}[dtype])


@pytest.mark.parametrize("rows_and_steps", [1, 7, 20])
@every_option
def test_the_backward_pass_in_pieces(
    options: dict[str, Any], rows_and_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "_PIECE", rows_and_steps)
    assert_parity(make(4, 19, 3, **options), 9, 3)


@pytest.mark.parametrize("rate", [0.0, 1.0, 2**-40])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("changed", list(RATES))
def test_rates_at_the_ends(changed: str, training: bool, rate: float) -> None:
    for options in FULL:
        assert_parity(make(4, 19, 2, **{**options, changed: rate}).train(training), 6, 3)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("options", [*PLAIN, *FULL], ids=str)
def test_another_number_of_micro_layers(options: dict[str, Any], steps: int) -> None:
    layer = make(4, 19, 3, **options)
    if steps <= 3 or layer.tied:
        layer.steps = steps
        assert_parity(layer, 6, 3)


def test_random_micro_layers() -> None:
    layer = make(4, 19, 3, tied=True, random_steps=lnn.RandomSteps(mean=2, most=5), recurrent_dropout=0.2)
    assert_parity(layer, 6, 3)


@each_type
@pytest.mark.parametrize("options", [*PLAIN, *FULL, LOW_RANK[-1]], ids=str)
def test_every_instruction_set(options: dict[str, Any], dtype: torch.dtype, instruction_set: str) -> None:
    assert_parity(make(3, 37, 2, dtype, **options), 9, 11, TOLERANCE[dtype])


def test_memory_that_nobody_wrote_to_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [make(4, 19, 3, **options) for options in OPTIONS]
    clean = [results(layer, "fused", 6, 3) for layer in layers]
    poison_new_memory(monkeypatch)
    for layer, want in zip(layers, clean, strict=True):
        assert_close(results(layer, "fused", 6, 3), want, 0.0)


@each_type
@pytest.mark.parametrize("size", [(5, 3, 1), (4, 7, 37), (3, 5, 130), (4, 0, 19)], ids=str)
@pytest.mark.parametrize("options", [*PLAIN, *FULL, LOW_RANK[-1]], ids=str)
def test_any_number_of_threads_gives_the_same_to_the_bit(
    options: dict[str, Any], size: tuple[int, int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native.compiled().has_threads():
        pytest.skip("PyTorch brings no OpenMP runtime that the kernels can use")
    steps, rows, units = size
    if options.get("rank", 1) > units:
        pytest.skip("no such rank")
    layer = make(4, units, 3, dtype, **options)
    monkeypatch.setattr(native, "threads", lambda *_: 1)
    want = results(layer, "fused", steps, rows)
    for threads in (2, 3, 11):  # 11 are more than there are panels of units
        monkeypatch.setattr(native, "threads", lambda *_, n=threads: n)
        got = results(layer, "fused", steps, rows)
        assert all(torch.equal(got[name], value) for name, value in want.items())


@pytest.mark.parametrize("options", [*PLAIN, *FULL, LOW_RANK[1]], ids=str)
def test_gradcheck(options: dict[str, Any]) -> None:
    layer = make(3, 5, 2, backend="fused", **options)
    x, h = torch.randn(3, 2, 3, dtype=F64), torch.randn(1, 2, 5, dtype=F64)
    given = [part.requires_grad_() for part in (x, h)]

    def run(x: Tensor, h: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        output, last = layer(x, h)
        return output, last

    assert torch.autograd.gradcheck(run, [*given, *layer.parameters()])


def test_a_second_backward_gives_the_same_and_a_second_derivative_is_refused() -> None:
    layer, x = make(3, 5, 2, backend="fused", **FULL[0]), torch.randn(6, 2, 3, dtype=F64, requires_grad=True)
    loss = layer(x)[0].square().sum()
    first = torch.autograd.grad(loss, [x, *layer.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [x, *layer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    (d_x,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        d_x.sum().backward()


def test_only_the_last_state_or_the_output_has_a_gradient() -> None:
    layer = make(3, 9, 2)
    x = torch.randn(6, 2, 3, dtype=F64)
    for part in (0, 1):
        found = []
        for backend in ("fused", "reference"):
            layer.backend = backend  # type: ignore[assignment]
            found.append(torch.autograd.grad(layer(x)[part].square().sum(), list(layer.parameters())))
        for got, want in zip(*found, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


def test_what_is_given_has_one_dtype() -> None:
    layer = make(3, 5, 2, backend="fused")
    with pytest.raises(ValueError, match=r"parameters of one dtype, got torch\.float32, torch\.float64"):
        layer(torch.randn(6, 2, 3))


def test_choice() -> None:
    for options in OPTIONS:
        assert make(4, 19, 2, **options).explain().startswith("RHN: fused (this project's kernels in C")
    assert "multiplied factor by factor" in lnn.RHN(4, 64, rank=4).explain()
    assert "composed once a call" in lnn.RHN(4, 64, rank=40).explain()
    assert "composed" not in lnn.RHN(4, 64, rank=40, backend="reference").explain()
    assert lnn.RHN(4, 64, device="meta").explain().endswith("there are no fused kernels for meta")
    assert lnn.RHN(4, 64, dtype=torch.float16).explain().startswith("RHN: reference")
    with pytest.raises(ValueError, match=r"^backend='fused': the CPU kernels compute in float32 and float64"):
        lnn.RHN(4, 64, dtype=torch.float16, backend="fused")
    with pytest.raises(ValueError, match="backend should be one of 'auto', 'fused', 'reference'"):
        lnn.RHN(4, 64, backend="cudnn")  # type: ignore[arg-type]


def test_autocast_takes_the_reference() -> None:
    layer = make(4, 9, 2, F32, zoneout_hidden=0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [results(layer, backend, 6, 3) for backend in ("auto", "reference")]
        assert layer.explain().startswith("RHN: reference")
        with pytest.raises(ValueError, match=r"^backend='fused': the fused kernels serve neither autocast nor"):
            results(layer, "fused", 6, 3)
    assert_close(*found, 0.0)


def test_a_rank_that_is_composed_gives_the_same() -> None:
    layer = make(4, 24, 3, rank=20, diagonal=True, recurrent_dropout=0.2)
    assert layer.choose_backend(training=True).composed
    assert_parity(layer, 6, 3)
