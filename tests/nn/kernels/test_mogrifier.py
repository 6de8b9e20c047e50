"""The fused Mogrifier LSTM against the reference: outputs, last states and every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import Arguments, assert_close, assert_parity, data, needs_kernels, poison_new_memory, results
from parity import make as make_layer
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.kernels.cpu import native, sequence

pytestmark = needs_kernels

F32, F64 = torch.float32, torch.float64
TOLERANCE = {F32: 1e-5, F64: 1e-12}
RATES: Arguments = {"zoneout_cell": 0.5, "zoneout_hidden": 0.05, "recurrent_dropout": 0.25}
# Rounds that end with x and with h, none, and a single one, of which the LSTM reads the state as it was.
FORMS: list[Arguments] = [
    {"rounds": 0},
    {"rounds": 1},
    {"rounds": 2, "rank": 1},
    {"rounds": 4, "rank": 2, **RATES},
    {"rounds": 5},
    {"rounds": 5, **RATES},
    {"rounds": 3, "rank": 2},
]
# T, B, I, H: one step and many, one row and several, fewer units than a vector has, and a remainder; either is wider.
SIZES = [(1, 1, 3, 2), (2, 5, 3, 17), (63, 5, 4, 37), (3, 5, 130, 7), (2, 1, 7, 130), (63, 1, 17, 2), (2, 40, 16, 16)]

each_type = pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
each_form = pytest.mark.parametrize("options", FORMS, ids=str)


def make(inputs: int, units: int, dtype: torch.dtype = F64, **options: object) -> Any:
    return make_layer("MogrifierLSTM", inputs, units, dtype, **options)


@each_type
@pytest.mark.parametrize("size", SIZES, ids=str)
@each_form
def test_sizes(options: Arguments, size: tuple[int, ...], dtype: torch.dtype) -> None:
    steps, rows, inputs, units = size
    layer = make(inputs, units, dtype, **options)
    assert_parity(layer, *data(layer, steps, rows), TOLERANCE[dtype])
    assert_parity(layer.eval(), *data(layer, steps, rows), TOLERANCE[dtype])


@settings(max_examples=80, deadline=None)
@given(
    rounds=st.integers(0, 6),
    rank=st.one_of(st.none(), st.integers(1, 9)),
    inputs=st.integers(1, 40),
    units=st.integers(1, 40),
    steps=st.integers(1, 12),
    rows=st.integers(0, 9),
    rates=st.fixed_dictionaries(dict.fromkeys(RATES, st.sampled_from([0.0, 0.05, 0.5, 1.0]))),
    training=st.booleans(),
)
def test_any_sizes_and_options(
    rounds: int,
    rank: int | None,
    inputs: int,
    units: int,
    steps: int,
    rows: int,
    rates: dict[str, float],
    training: bool,
) -> None:
    rank = None if rank is None else min(rank, inputs, units)
    layer = make(inputs, units, rounds=rounds, rank=rank, **rates).train(training)
    assert_parity(layer, *data(layer, steps, rows), 1e-10)


@each_form
def test_many_steps(options: Arguments) -> None:
    layer = make(3, 9, **options)
    assert_parity(layer, *data(layer, 500, 2), 1e-10)


@pytest.mark.parametrize("rows_and_steps", [1, 7, 20])
@each_form
def test_the_backward_pass_in_pieces(options: Arguments, rows_and_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "_PIECE", rows_and_steps)
    layer = make(4, 19, **options)
    assert_parity(layer, *data(layer, 9, 3))


@each_type
@pytest.mark.parametrize("size", [(1, 1, 3, 7), (9, 11, 3, 37), (3, 7, 130, 2)], ids=str)
@each_form
def test_every_instruction_set(
    options: Arguments, size: tuple[int, ...], dtype: torch.dtype, instruction_set: str
) -> None:
    steps, rows, inputs, units = size
    layer = make(inputs, units, dtype, **options)
    assert_parity(layer, *data(layer, steps, rows), TOLERANCE[dtype])


@pytest.mark.parametrize("rank", [None, 300])
def test_more_than_a_packed_block(rank: int | None) -> None:
    # More rows of a weight than are used at a time (PANEL_ROWS of src/product.h), in all products.
    layer = make(520, 530, rounds=3, rank=rank)
    assert_parity(layer, *data(layer, 2, 17))


@each_type
@pytest.mark.parametrize("size", [(5, 3, 7, 1), (4, 7, 4, 37), (3, 5, 130, 130), (4, 0, 5, 19)], ids=str)
@each_form
def test_any_number_of_threads_gives_the_same_to_the_bit(
    options: Arguments, size: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native.compiled().has_threads():
        pytest.skip("PyTorch brings no OpenMP runtime that the kernels can use")
    steps, rows, inputs, units = size
    layer = make(inputs, units, dtype, **{**options, "rank": None if units == 1 else options.get("rank")})
    monkeypatch.setattr(native, "threads", lambda *_: 1)
    want = results(layer, "fused", *data(layer, steps, rows))
    for threads in (2, 3, 11):  # 11 are more than there are panels of units
        monkeypatch.setattr(native, "threads", lambda *_, n=threads: n)
        got = results(layer, "fused", *data(layer, steps, rows))
        assert all(torch.equal(got[name], value) for name, value in want.items())


def spread(x: Tensor) -> Tensor:
    """The same values in the columns of a larger array."""
    return torch.stack([x, torch.zeros_like(x)], dim=-1)[..., 0]


@each_form
def test_inputs_states_and_weights_that_are_not_contiguous(options: Arguments) -> None:
    layer = make(4, 19, **options)
    x, states = data(layer, 6, 3)
    want = results(layer, "reference", x, states)
    for parameter in layer.parameters():
        parameter.data = spread(parameter.data)
    assert_close(results(layer, "fused", spread(x), tuple(map(spread, states))), want, 1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        lambda output, last: output.sum(),
        lambda output, last: (output.transpose(0, 2) * torch.arange(6.0, dtype=F64)).cos().sum(),
        lambda output, last: output[2].square().sum(),
        lambda output, last: last[0].square().sum(),
        lambda output, last: last[1].sum(),
    ],
    ids=["output, expanded", "output, transposed", "output, one step", "last h", "last c"],
)
@each_form
def test_upstream_gradients(options: Arguments, loss: Any) -> None:
    layer = make(4, 19, **options)
    assert_parity(layer, *data(layer, 6, 6), loss=loss)


@pytest.mark.parametrize("learns", ["weight_ih", "weight_hh", "bias_ih", "gate_1", "gate_2", "nothing"])
@each_form
def test_only_some_parameters_learn(options: Arguments, learns: str) -> None:
    layer = make(4, 19, **options)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name.startswith(learns))
    assert_parity(layer, *data(layer, 6, 3), inputs_learn=False)


@each_form
def test_gradcheck(options: Arguments) -> None:
    layer = make(2, 3, backend="fused", **options)
    names = [name for name, _ in layer.named_parameters()]
    x, states = data(layer, 3, 2)

    def run(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(5)
        output, last = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, (h, c)))
        return output, *last

    inputs = [part.requires_grad_() for part in (x, *states)]
    assert torch.autograd.gradcheck(run, (*inputs, *layer.parameters()))


@each_form
def test_without_gradients_and_in_parts(options: Arguments) -> None:
    layer = make(4, 19, backend="fused", **options)
    x, state = data(layer, 12, 3)
    torch.manual_seed(3)
    whole, _ = layer(x, state)
    torch.manual_seed(3)
    with torch.no_grad():
        found, _ = layer(x, state)
    assert torch.equal(found, whole)
    assert not found.requires_grad
    parts = []
    layer.eval()
    for part in x.split([1, 8, 3]):
        output, state = layer(part, state)
        parts.append(output)
    torch.testing.assert_close(torch.cat(parts), layer(x, data(layer, 12, 3)[1])[0], rtol=1e-12, atol=1e-14)


@each_form
def test_every_element_of_a_new_array_is_written(options: Arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(4, 19, **options)
    want = results(layer, "reference", *data(layer, 6, 5))
    filled = poison_new_memory(monkeypatch)
    assert_close(results(layer, "fused", *data(layer, 6, 5)), want, 1e-12)
    assert len(filled) >= 4


@each_form
def test_a_second_backward_pass_gives_the_same_and_a_second_derivative_is_refused(options: Arguments) -> None:
    layer = make(4, 9, backend="fused", **options)
    x = data(layer, 6, 3)[0].requires_grad_()
    loss = layer(x)[0].square().sum()
    first = torch.autograd.grad(loss, [x, *layer.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [x, *layer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    (d_x,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="the fused kernels have no second derivative"):
        d_x.sum().backward()


@pytest.mark.parametrize("changed", ["input", "output", "initial state", "gate"])
def test_what_the_backward_pass_needs_may_not_change_before_it(changed: str) -> None:
    layer = make(4, 9, backend="fused")
    x, (h0, c0) = data(layer, 6, 3)
    output, (h, _) = layer(x, (h0, c0))
    with torch.no_grad():
        h.zero_()  # the caller's own
        {"input": x, "output": output, "initial state": c0, "gate": layer.gate_2}[changed].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.square().sum().backward()


def test_what_is_given_has_one_dtype() -> None:
    layer = make(4, 9, backend="fused")
    with pytest.raises(ValueError, match=r"parameters of one dtype, got torch\.float32, torch\.float64"):
        layer(data(layer, 6, 3)[0].float())


def test_choice() -> None:
    layer = make(4, 9, F32)
    assert layer.explain().startswith("MogrifierLSTM: fused (this project's kernels in C")
    x, states = data(layer, 6, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [results(layer, backend, x, states) for backend in ("auto", "reference")]
        with pytest.raises(ValueError, match=r"^backend='fused': the fused kernels serve neither autocast nor"):
            results(layer, "fused", x, states)
    assert_close(*found, 0.0)
    with pytest.raises(ValueError, match="compute in float32 and float64, not bfloat16"):
        lnn.MogrifierLSTM(4, 9, backend="fused", dtype=torch.bfloat16)
    layer = make(4, 9).eval()
    x = data(layer, 6, 3)[0].requires_grad_()
    (want,) = torch.autograd.grad(layer(x)[0].sum(), x)
    torch.testing.assert_close(torch.func.grad(lambda x: layer(x)[0].sum())(x), want, rtol=1e-12, atol=1e-14)
