"""Low-rank weights in the CPU kernels, multiplied factor by factor, against the reference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity import (
    FULL,
    PLAIN,
    Arguments,
    assert_close,
    assert_parity,
    data,
    make,
    needs_kernels,
    poison_new_memory,
    results,
)
from torch import Tensor

from lsseq.nn.kernels import factors
from lsseq.nn.kernels.cpu import native, sequence
from lsseq.nn.kernels.dispatch import choose
from lsseq.nn.recurrent import Recurrent

pytestmark = needs_kernels

F32, F64 = torch.float32, torch.float64


def without_weight_dropout(options: Arguments) -> Arguments:
    """Dropping entries needs the whole matrix, which is another path."""
    return {name: value for name, value in options.items() if name != "weight_dropout"}


CELLS = [(cell, without_weight_dropout(options)) for cell, options in [*PLAIN, *FULL]]
FORMS: list[Arguments] = [
    {"diagonal": diagonal, "tied_rank": tied} for diagonal in (False, True) for tied in (False, True)
]
every_cell = pytest.mark.parametrize(("cell", "options"), CELLS, ids=str)
every_form = pytest.mark.parametrize("form", FORMS, ids=str)


@pytest.fixture(autouse=True)
def factor_by_factor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fused kernels never compose, whatever it costs."""
    monkeypatch.setattr(factors, "CHEAPER", float("inf"))
    choose.cache_clear()
    yield
    choose.cache_clear()


# T, B, I, H, r: one step and many, one row and several, ranks of less and more than a vector, few and many products.
SIZES = [(1, 1, 3, 1, 1), (2, 5, 3, 17, 3), (21, 5, 4, 37, 37), (2, 1, 7, 130, 17), (7, 5, 2, 130, 70)]


@pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@every_form
@every_cell
def test_sizes(cell: str, options: Arguments, form: Arguments, size: tuple[int, ...], dtype: torch.dtype) -> None:
    steps, rows, inputs, units, rank = size
    layer = make(cell, inputs, units, dtype, rank=rank, **form, **options)
    assert not layer.choose_backend(training=True).composed
    # A single unit that is normalised is 0 whatever its value: its gradient is rounding errors over √1e-5.
    tolerance = {F32: 1e-5, F64: 1e-12}[dtype] * (1e3 if units == 1 and layer.norm else 1)
    assert_parity(layer, *data(layer, steps, rows), tolerance)
    assert_parity(layer.eval(), *data(layer, steps, rows), tolerance)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@every_form
@every_cell
def test_several_layers(cell: str, options: Arguments, form: Arguments, bias: bool) -> None:
    layer = make(cell, 4, 19, rank=5, num_layers=2, dropout=0.3, bias=bias, **form, **options)
    assert_parity(layer, *data(layer, 6, 3), 1e-11)


@every_form
@every_cell
def test_the_backward_pass_in_pieces(
    cell: str, options: Arguments, form: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "_PIECE", 7)
    layer = make(cell, 4, 19, rank=5, **form, **options)
    assert_parity(layer, *data(layer, 9, 3))


@pytest.mark.parametrize("instruction_set", ["plain", "avx2"])
@every_form
@every_cell
def test_narrower_vectors(
    cell: str, options: Arguments, form: Arguments, instruction_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = ["plain", "avx2", "avx512"]
    if sets.index(instruction_set) >= sets.index(native.instruction_set()):
        pytest.skip(f"{instruction_set} is not below the best that this processor has")
    monkeypatch.setattr(native, "instruction_set", lambda: instruction_set)
    native._function.cache_clear()
    try:
        layer = make(cell, 3, 37, rank=11, **form, **options)
        assert_parity(layer, *data(layer, 9, 11))
    finally:
        native._function.cache_clear()


@every_form
@every_cell
def test_every_step_and_recomputed(cell: str, options: Arguments, form: Arguments) -> None:
    layer = make(cell, 4, 19, rank=5, num_layers=2, **form, **options)
    x, states = data(layer, 6, 3)
    found = []
    for backend in ("fused", "reference"):
        layer.backend = backend  # type: ignore[assignment]
        torch.manual_seed(3)
        every = layer.states_of_every_step(x, states if cell == "LSTM" else states[0])
        loss = torch.stack([(part * part.cos()).sum() for part in every]).sum()
        gradients = torch.autograd.grad(loss, list(layer.parameters()))
        found.append(dict(zip(map(str, range(99)), [*every, *gradients], strict=False)))
    assert_close(*found, 1e-11)
    layer.recompute = True
    want = results(layer, "reference", x, states)
    assert_close(results(layer, "fused", x, states), want, 1e-11)


@every_form
@every_cell
def test_weights_that_are_not_contiguous(cell: str, options: Arguments, form: Arguments) -> None:
    layer = make(cell, 4, 19, rank=5, **form, **options)
    x, states = data(layer, 6, 3)
    want = results(layer, "reference", x, states)
    for parameter in layer.parameters():
        parameter.data = torch.stack([parameter.data, torch.zeros_like(parameter)], dim=-1)[..., 0]
    assert not layer.weight_hh_l0_left.is_contiguous()
    for backend in ("fused", "reference"):
        assert_close(results(layer, backend, x, states), want, 1e-12)


@every_form
@every_cell
def test_an_empty_batch(cell: str, options: Arguments, form: Arguments) -> None:
    layer = make(cell, 4, 9, rank=2, **form, **options)
    assert_parity(layer, *data(layer, 6, 0))


@pytest.mark.parametrize("size", [(5, 3, 1, 1), (4, 7, 37, 20), (3, 5, 130, 70)], ids=str)
@every_form
@every_cell
def test_any_number_of_threads_gives_the_same_to_the_bit(
    cell: str, options: Arguments, form: Arguments, size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native.compiled().has_threads():
        pytest.skip("PyTorch brings no OpenMP runtime that the kernels can use")
    steps, rows, units, rank = size
    layer = make(cell, 4, units, F32, rank=rank, **form, **options)
    monkeypatch.setattr(native, "threads", lambda *_: 1)
    want = results(layer, "fused", *data(layer, steps, rows))
    for threads in (2, 3, 11):
        monkeypatch.setattr(native, "threads", lambda *_, n=threads: n)
        got = results(layer, "fused", *data(layer, steps, rows))
        assert all(torch.equal(got[name], value) for name, value in want.items())


@every_form
@every_cell
def test_every_element_of_a_new_array_is_written(
    cell: str, options: Arguments, form: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make(cell, 4, 19, rank=5, **form, **options)
    want = results(layer, "reference", *data(layer, 6, 5))
    filled = poison_new_memory(monkeypatch)
    assert_close(results(layer, "fused", *data(layer, 6, 5)), want, 1e-12)
    assert len(filled) >= 5


@pytest.mark.parametrize("learns", ["weight_ih", "left", "right", "diag", "bias_hh"])
@every_cell
def test_only_some_parameters_learn(cell: str, options: Arguments, learns: str) -> None:
    layer = make(cell, 4, 19, rank=5, diagonal=True, **options)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(learns in name)
    assert_parity(layer, *data(layer, 6, 3), inputs_learn=False)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(("cell", "options"), CELLS[len(PLAIN) :], ids=str)
def test_gradcheck(cell: str, options: Arguments, tied: bool) -> None:
    layer = make(cell, 2, 3, rank=2, diagonal=True, tied_rank=tied, backend="fused", **options)
    names = [name for name, _ in layer.named_parameters()]
    x, first = data(layer, 3, 2)

    def run(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        state = tensors[: len(first)]
        given = dict(zip(names, tensors[len(first) :], strict=True))
        torch.manual_seed(5)
        output, last = torch.func.functional_call(layer, given, (x, state if cell == "LSTM" else state[0]))
        return output, *(last if cell == "LSTM" else (last,))

    sources = [part.requires_grad_() for part in (x, *first)]
    assert torch.autograd.gradcheck(run, (*sources, *layer.parameters()))


@st.composite
def layers(draw: st.DrawFn) -> Recurrent:
    """Any low-rank layer of a few units, in training or evaluation."""
    cell, options = draw(st.sampled_from(CELLS))
    units = draw(st.integers(1, 40))
    rank = draw(st.integers(1, units))
    layer = make(cell, draw(st.integers(1, 9)), units, rank=rank, **draw(st.sampled_from(FORMS)), **options)
    return layer.train(draw(st.booleans()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layer=layers(), steps=st.integers(1, 12), rows=st.integers(0, 9))
def test_any_sizes_and_options(layer: Recurrent, steps: int, rows: int) -> None:
    assert_parity(layer, *data(layer, steps, rows), 1e-9)
