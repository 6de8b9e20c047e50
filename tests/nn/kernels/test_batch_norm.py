"""The LSTM with recurrent batch normalisation in the CPU kernels, against the reference: also its statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity import Arguments, assert_close, data, make, needs_kernels, poison_new_memory, weighted
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.kernels import factors
from lsseq.nn.kernels.cpu import native, sequence
from lsseq.nn.kernels.dispatch import Request, choose
from lsseq.nn.parts.statistics import step_norms
from lsseq.nn.recurrent import Recurrent
from lsseq.nn.shards import part_of_batch

pytestmark = needs_kernels

F32, F64 = torch.float32, torch.float64
N = 4

RATES: Arguments = {"zoneout_cell": 0.5, "zoneout_hidden": 0.05, "recurrent_dropout": 0.25}
OPTIONS: list[Arguments] = [
    {},
    *({name: rate} for name, rate in RATES.items()),
    {"weight_dropout": 0.2},
    {"bias": False},
    {**RATES, "weight_dropout": 0.2},
    *({**RATES, "rank": 3, "diagonal": d, "tied_rank": tied} for d in (False, True) for tied in (False, True)),
]
FULL = [OPTIONS[6], OPTIONS[9]]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)
full = pytest.mark.parametrize("options", FULL, ids=str)


@pytest.fixture(autouse=True)
def factor_by_factor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fused kernels never compose, whatever it costs."""
    monkeypatch.setattr(factors, "CHEAPER", float("inf"))
    choose.cache_clear()
    yield
    choose.cache_clear()


def made(inputs: int, units: int, dtype: torch.dtype = F64, **options: object) -> Recurrent:
    """A layer whose averages are those of some batches."""
    layer = make("LSTM", inputs, units, dtype, norm="batch", norm_steps=N, backend="reference", **options)
    for norm in step_norms(layer):
        norm.momentum = 0.3
    with torch.no_grad():
        for seed in range(3):
            layer(data(layer, N + 2, 7, seed)[0])
    return layer


def found(layer: Recurrent, backend: str, x: Tensor, states: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What a copy of a layer gives, all gradients of a loss of it, and its averages afterwards, by name."""
    layer = copy.deepcopy(layer)
    layer.backend = backend  # type: ignore[assignment]
    x, *first = (part.detach().requires_grad_() for part in (x, *states[:2]))
    torch.manual_seed(3)
    output, last = layer(x, (*first, *states[2:]))
    sources = {"x": x, "h0": first[0], "c0": first[1], **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(weighted(output, last[:2]), list(sources.values()))
    named = {"output": output, **dict(zip(("h", "c", "count"), last, strict=True))}
    named |= {f"d {name}": gradient for name, gradient in zip(sources, gradients, strict=True)}
    return named | dict(layer.named_buffers())


def assert_parity(layer: Recurrent, x: Tensor, states: tuple[Tensor, ...], tolerance: float = 1e-11) -> None:
    assert_close(found(layer, "fused", x, states), found(layer, "reference", x, states), tolerance)


# T, B, I, H: one step and many, two rows and several, fewer units than a vector has, and a remainder.
SIZES = [(1, 2, 3, 3), (2, 5, 3, 17), (31, 9, 4, 37), (3, 6, 2, 130), (7, 40, 1, 16)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@every_option
def test_sizes_and_options(options: Arguments, size: tuple[int, ...]) -> None:
    steps, rows, inputs, units = size
    layer = made(inputs, units, **options)
    assert not layer.choose_backend(training=True).composed
    assert_parity(layer, *data(layer, steps, rows))
    assert_parity(layer.eval(), *data(layer, steps, rows))


@pytest.mark.parametrize("size", [(1, 9, 3, 3), (4, 24, 3, 17), (3, 40, 2, 130)], ids=str)
@every_option
def test_single_precision(options: Arguments, size: tuple[int, ...]) -> None:
    steps, rows, inputs, units = size
    layer = made(inputs, units, F32, **options)
    assert_parity(layer, *data(layer, steps, rows), 2e-5)
    assert_parity(layer.eval(), *data(layer, steps, rows), 2e-5)


@pytest.mark.parametrize("instruction_set", ["plain", "avx2"])
@full
def test_narrower_vectors(options: Arguments, instruction_set: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = ["plain", "avx2", "avx512"]
    if sets.index(instruction_set) >= sets.index(native.instruction_set()):
        pytest.skip(f"{instruction_set} is not below the best that this processor has")
    layer = made(3, 37, **options)
    monkeypatch.setattr(native, "instruction_set", lambda: instruction_set)
    native._function.cache_clear()
    try:
        assert_parity(layer, *data(layer, 9, 11))
        assert_parity(layer.eval(), *data(layer, 9, 11))
    finally:
        native._function.cache_clear()


@pytest.mark.parametrize("rows_and_steps", [1, 7, 20])
@full
def test_the_backward_pass_in_pieces(options: Arguments, rows_and_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "_PIECE", rows_and_steps)
    layer = made(4, 19, **options)
    assert_parity(layer, *data(layer, 9, 5))
    assert_parity(layer.eval(), *data(layer, 9, 5))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("rows_and_steps", [1, 7, 20])
@full
def test_the_forward_pass_alone_in_pieces(
    options: Arguments, rows_and_steps: int, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "_PIECE_ALONE", rows_and_steps)
    layer = made(4, 19, **options).train(training)
    x, states = data(layer, 9, 5)
    found = {}
    for backend in ("fused", "reference"):
        one = copy.deepcopy(layer)
        one.backend = backend  # type: ignore[assignment]
        torch.manual_seed(3)
        with torch.no_grad():
            output, last = one(x, states)
        found[backend] = {"output": output, **dict(zip(("h", "c", "count"), last, strict=True))}
        found[backend] |= dict(one.named_buffers())
    assert_close(found["fused"], found["reference"], 1e-11)


@full
def test_several_layers_and_states_of_every_step(options: Arguments) -> None:
    layer = made(4, 19, num_layers=2, dropout=0.3, **options)
    x, states = data(layer, 6, 5)
    assert_parity(layer, x, states)
    both = []
    for backend in ("fused", "reference"):
        one = copy.deepcopy(layer)
        one.backend = backend  # type: ignore[assignment]
        torch.manual_seed(3)
        every = one.states_of_every_step(x, states)
        loss = torch.stack([(part * part.cos()).sum() for part in every[:2]]).sum()
        gradients = torch.autograd.grad(loss, list(one.parameters()))
        both.append(dict(zip(map(str, range(99)), [*every, *gradients], strict=False)))
    assert_close(*both, 1e-11)


@full
def test_any_number_of_threads_gives_the_same_to_the_bit(options: Arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.compiled().has_threads():
        pytest.skip("PyTorch brings no OpenMP runtime that the kernels can use")
    for steps, rows, units in ((5, 3, 3), (4, 7, 37), (3, 5, 130)):
        layer = made(4, units, F32, **options)
        for training in (True, False):
            layer.train(training)
            monkeypatch.setattr(native, "threads", lambda *_: 1)
            want = found(layer, "fused", *data(layer, steps, rows))
            for threads in (2, 3, 11):
                monkeypatch.setattr(native, "threads", lambda *_, n=threads: n)
                got = found(layer, "fused", *data(layer, steps, rows))
                assert all(torch.equal(got[name], value) for name, value in want.items())


@full
def test_every_element_of_a_new_array_is_written(options: Arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = made(4, 19, **options)
    both = [layer, copy.deepcopy(layer).eval()]
    want = [found(one, "reference", *data(layer, 6, 5)) for one in both]
    filled = poison_new_memory(monkeypatch)
    for one, expected in zip(both, want, strict=True):
        assert_close(found(one, "fused", *data(layer, 6, 5)), expected, 1e-11)
    assert len(filled) >= 8


# ---------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("first", [1, N - 1, N, 20])
@full
def test_a_sequence_that_goes_on(options: Arguments, first: int) -> None:
    """Also where it begins beyond the steps that have statistics of their own."""
    layer = made(3, 17, **options)
    x, states = data(layer, 5, 6)
    count = torch.full((1, 6, 1), float(first))
    assert_parity(layer, x, (*states, count))
    assert_parity(layer.eval(), x, (*states, count))


@pytest.mark.parametrize("rows", [1, 2, 6])
@full
def test_rows_at_different_steps_in_evaluation(options: Arguments, rows: int) -> None:
    layer = made(3, 17, **options).eval()
    x, states = data(layer, 5, rows)
    assert_parity(layer, x, (*states, torch.arange(float(rows)).view(1, rows, 1)))


@pytest.mark.parametrize("given", [(0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=str)
@full
def test_averages_while_other_noise_is_drawn(options: Arguments, given: tuple[int, ...]) -> None:
    """Of some of the three, or of all, as where draws of the noise are evaluated."""
    layer = made(3, 17, **options)
    for of in given:
        step_norms(layer)[of].eval()
    assert_parity(layer, *data(layer, N + 3, 6))


@full
def test_recalibration(options: Arguments) -> None:
    both = []
    for backend in ("fused", "reference"):
        layer = made(3, 17, **options)
        layer.backend = backend  # type: ignore[assignment]
        with lnn.recalibrating(layer), torch.no_grad():
            outputs = [layer(data(layer, N + 3, 6, seed)[0])[0] for seed in range(3)]
        both.append({**{str(k): output for k, output in enumerate(outputs)}, **dict(layer.named_buffers())})
    assert_close(*both, 1e-11)


def test_without_gradients() -> None:
    """Training takes the statistics there too."""
    layer = made(3, 17, **RATES)
    x, states = data(layer, 6, 5)
    for one in (layer, copy.deepcopy(layer).eval()):
        want = found(one, "fused", x, states)
        one.backend = "fused"
        torch.manual_seed(3)
        with torch.no_grad():
            output, last = one(x, states)
        torch.testing.assert_close(output, want["output"], rtol=0, atol=1e-14)
        assert torch.equal(last[2], want["count"])
        for name, buffer in one.named_buffers():
            torch.testing.assert_close(buffer, want[name], rtol=0, atol=1e-14)


def test_an_empty_batch_in_evaluation() -> None:
    layer = made(3, 17).eval()
    assert_parity(layer, *data(layer, 5, 0))


@pytest.mark.parametrize("count", [torch.zeros(1, 1, 1), torch.zeros(1, 0, 1), torch.arange(6.0).view(1, 6, 1)])
def test_batches_that_have_no_statistics(count: Tensor) -> None:
    layer = made(3, 17)
    before = copy.deepcopy(layer.state_dict())
    layer.backend = "fused"
    x, states = data(layer, 5, count.shape[1])
    with pytest.raises(ValueError, match="two rows or more, all at the same step"):
        layer(x, (*states, count))
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


# ------------------------------------------------------------------------------------------------------------ choice


def test_what_is_taken() -> None:
    layer: Any = lnn.LSTM(3, 4, norm="batch", norm_steps=N)
    x = torch.randn(5, 6, 3)
    assert layer.explain().startswith("LSTM: fused (this project's kernels in C")
    with part_of_batch(0, lambda mean: mean):
        reason = layer.choose_backend(True, x).reason
        assert "the fused kernels cannot serve statistics of several processes" in reason
        assert layer.eval().choose_backend(False, x).backend == "fused"
        layer.train().backend = "fused"
        with pytest.raises(ValueError, match="cannot serve statistics of several processes; use 'auto' or 'reference'"):
            layer(x)
    layer.backend = "auto"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.choose_backend(True, x).backend == "reference"


def test_none_on_cuda() -> None:
    request = Request("LSTM", "fused", ("norm='batch'",), (), device="cuda", dtype=F32)
    with pytest.raises(ValueError, match="the fused kernels cannot serve norm='batch'"):
        choose(request)


# ------------------------------------------------------------------------------------------------------ any of them


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@full
def test_gradcheck(options: Arguments, training: bool) -> None:
    layer = made(2, 3, **options).train(training)
    layer.backend = "fused"
    names = [name for name, _ in layer.named_parameters()]
    x, first = data(layer, 3, 4)

    def run(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(5)
        given = dict(zip(names, parameters, strict=True))
        output, (h, c, _) = torch.func.functional_call(layer, given, (x, (h, c)))
        return output, h, c

    sources = [part.requires_grad_() for part in (x, *first)]
    assert torch.autograd.gradcheck(run, (*sources, *layer.parameters()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=st.sampled_from(OPTIONS),
    sizes=st.tuples(st.integers(1, 9), st.integers(3, 40)),
    steps=st.integers(1, 8),
    rows=st.integers(3, 9),
    training=st.booleans(),
)
def test_any_sizes_and_options(
    options: Arguments, sizes: tuple[int, int], steps: int, rows: int, training: bool
) -> None:
    layer = made(*sizes, **options).train(training)
    assert_parity(layer, *data(layer, steps, rows), 1e-9)
