"""The CPU kernels against the reference: outputs, last states and every gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import (
    FULL,
    PLAIN,
    SINGLE,
    Arguments,
    Loss,
    assert_close,
    assert_parity,
    data,
    make,
    needs_kernels,
    poison_new_memory,
    results,
)
from torch import Tensor

from lsseq.nn.kernels.cpu import sequence
from lsseq.nn.recurrent import Recurrent

pytestmark = needs_kernels

F32, F64 = torch.float32, torch.float64
TOLERANCE = {F32: 1e-5, F64: 1e-12}
each_type = pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
every_cell = pytest.mark.parametrize(("cell", "options"), [*PLAIN, *FULL], ids=str)

# T, B, I, H: one step and many, one row and several, fewer units than a vector has, and a remainder.
SIZES = [(1, 1, 3, 1), (2, 5, 3, 17), (63, 5, 4, 37), (2, 1, 7, 130), (3, 5, 2, 130), (63, 1, 2, 17), (2, 40, 1, 16)]
# A single unit that is normalised is 0 whatever its value: its gradient is rounding errors over √1e-5.
ONE_UNIT = 1e3


@each_type
@pytest.mark.parametrize("size", SIZES, ids=str)
@every_cell
def test_sizes(cell: str, options: Arguments, size: tuple[int, ...], dtype: torch.dtype) -> None:
    steps, rows, inputs, units = size
    layer = make(cell, inputs, units, dtype, **options)
    tolerance = TOLERANCE[dtype] * (ONE_UNIT if units == 1 and layer.norm else 1)
    assert_parity(layer, *data(layer, steps, rows), tolerance)
    assert_parity(layer.eval(), *data(layer, steps, rows), tolerance)


@each_type
@every_cell
def test_a_thousand_steps(cell: str, options: Arguments, dtype: torch.dtype) -> None:
    layer = make(cell, 3, 9, dtype, **options)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("norm_hh"):
                parameter.mul_(0.3)  # else differences in the last bit grow from step to step
    assert_parity(layer, *data(layer, 1000, 2), {F32: 1e-5, F64: 1e-10}[dtype])


@pytest.mark.parametrize("rows_and_steps", [1, 7, 20])
@every_cell
def test_the_backward_pass_in_pieces(
    cell: str, options: Arguments, rows_and_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "_PIECE", rows_and_steps)
    layer = make(cell, 4, 19, **options)
    assert_parity(layer, *data(layer, 9, 3))


@pytest.mark.parametrize("rows_and_steps", [1, 7, 20])
@every_cell
def test_the_forward_pass_alone_in_pieces(
    cell: str, options: Arguments, rows_and_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "_PIECE_ALONE", rows_and_steps)
    layer = make(cell, 4, 19, **options).requires_grad_(False)
    assert_parity(layer, *data(layer, 9, 3), inputs_learn=False)
    assert_parity(layer.eval(), *data(layer, 9, 3), inputs_learn=False)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("cell", "options"), [*PLAIN, *SINGLE, *FULL], ids=str)
def test_options(cell: str, options: Arguments, bias: bool, training: bool) -> None:
    layer = make(cell, 4, 19, bias=bias, **options).train(training)
    assert_parity(layer, *data(layer, 6, 3))


@pytest.mark.parametrize("rate", [0.0, 1.0, 2**-40])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("cell", "options"), FULL, ids=str)
def test_rates_at_the_ends(cell: str, options: Arguments, training: bool, rate: float) -> None:
    rates = [name for name in options if name.startswith(("zoneout", "recurrent"))]
    for changed in ([name] for name in rates):
        layer = make(cell, 4, 19, **{**options, **dict.fromkeys(changed, rate)}).train(training)
        assert_parity(layer, *data(layer, 6, 3))


@each_type
@pytest.mark.parametrize("size", [(1, 1, 3, 7), (9, 11, 3, 37), (3, 7, 2, 130)], ids=str)
@every_cell
def test_every_instruction_set(
    cell: str, options: Arguments, size: tuple[int, ...], dtype: torch.dtype, instruction_set: str
) -> None:
    steps, rows, inputs, units = size
    layer = make(cell, inputs, units, dtype, **options)
    assert_parity(layer, *data(layer, steps, rows), TOLERANCE[dtype])


def test_units_beyond_a_packed_block() -> None:
    # More rows of a weight than are used at a time (PANEL_ROWS of src/product.h), in both passes.
    layer = make("LSTM", 2, 530)
    assert_parity(layer, *data(layer, 2, 17))


# --------------------------------------------------------------------------------------------------- layouts of tensors


def spread(x: Tensor) -> Tensor:
    """The same values in the columns of a larger array."""
    return torch.stack([x, torch.zeros_like(x)], dim=-1)[..., 0]


def turned(x: Tensor) -> Tensor:
    """The same values, the last two axes exchanged in memory."""
    return x.transpose(-1, -2).contiguous().transpose(-1, -2)


@pytest.mark.parametrize("layout", [spread, turned], ids=["spread", "turned"])
@every_cell
def test_inputs_and_states_that_are_not_contiguous(cell: str, options: Arguments, layout: object) -> None:
    layer = make(cell, 4, 19, **options)
    x, states = data(layer, 6, 3)
    x, *states = (layout(part) for part in (x, *states))  # type: ignore[operator]
    assert not x.is_contiguous()
    assert_parity(layer, x, tuple(states))


@every_cell
def test_one_learned_initial_state_for_all_rows(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 19, num_layers=2, **options)
    x, states = data(layer, 6, 3)

    def learned(backend: str) -> list[Tensor]:
        layer.backend = backend  # type: ignore[assignment]
        first = [state[:, :1].clone().requires_grad_() for state in states]
        wide = tuple(state.expand(-1, 3, -1) for state in first)
        torch.manual_seed(3)
        output, _ = layer(x, wide if cell == "LSTM" else wide[0])
        return list(torch.autograd.grad(output.square().sum(), first))

    for got, want in zip(learned("fused"), learned("reference"), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


def test_weights_that_are_not_contiguous() -> None:
    for cell, options in FULL:
        layer = make(cell, 4, 19, **options)
        x, states = data(layer, 6, 3)
        want = results(layer, "reference", x, states)
        for parameter in layer.parameters():
            parameter.data = spread(parameter.data)
        assert_close(results(layer, "fused", x, states), want, 1e-12)


LOSSES: dict[str, Loss] = {
    "output, expanded": lambda output, last: output.sum(),
    "output, transposed": lambda output, last: (output.transpose(0, 2) * torch.arange(6.0, dtype=F64)).cos().sum(),
    "output, one step": lambda output, last: output[2].square().sum(),
    "last h": lambda output, last: last[0].square().sum(),
    "last of the states": lambda output, last: last[-1].sum(),
    "twice": lambda output, last: (output.square().sum() + output.cos().sum()) * last[0].sum(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@every_cell
def test_upstream_gradients(cell: str, options: Arguments, loss: Loss) -> None:
    layer = make(cell, 4, 19, **options)
    x, states = data(layer, 6, 6)
    assert_parity(layer, x, states, loss=loss)


# ------------------------------------------------------------------------------------------------- who wants a gradient


@pytest.mark.parametrize("learns", ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "norm"])
@every_cell
def test_only_some_parameters_learn(cell: str, options: Arguments, learns: str) -> None:
    layer = make(cell, 4, 19, **options)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name.startswith(learns))
    assert_parity(layer, *data(layer, 6, 3), inputs_learn=False)


@every_cell
def test_only_the_input_or_only_a_state_learns(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 19, **options).requires_grad_(False)
    x, states = data(layer, 6, 3)
    sources = [x, *states]
    for k in range(len(sources)):
        found = []
        for backend in ("fused", "reference"):
            layer.backend = backend  # type: ignore[assignment]
            given = [part.clone().requires_grad_(k == n) for n, part in enumerate(sources)]
            torch.manual_seed(3)
            output, _ = layer(given[0], tuple(given[1:]) if cell == "LSTM" else given[1])
            found.append(torch.autograd.grad(output.square().sum(), given[k])[0])
        torch.testing.assert_close(*found, rtol=1e-11, atol=1e-13)


@every_cell
def test_nothing_learns(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 19, **options).requires_grad_(False)
    x, states = data(layer, 6, 3)
    found = results(layer, "fused", x, states, inputs_learn=False)
    assert not any(part.requires_grad for part in found.values())
    assert_parity(layer, x, states, inputs_learn=False)


# --------------------------------------------------------------------------------------------------- whole arrangements


@pytest.mark.parametrize("dropout_mask", ["step", "sequence"])
@every_cell
def test_several_layers_batch_first_without_biases(cell: str, options: Arguments, dropout_mask: str) -> None:
    arguments = {"num_layers": 3, "batch_first": True, "bias": False, "dropout": 0.3, "dropout_mask": dropout_mask}
    layer = make(cell, 4, 9, **arguments, **options)
    x, states = data(layer, 6, 3)
    assert_parity(layer, x.transpose(0, 1), states, 1e-11)


@every_cell
def test_unbatched(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 9, num_layers=2, **options)
    x, states = data(layer, 6, 1)
    assert_parity(layer, x[:, 0], tuple(state[:, 0] for state in states))


@every_cell
def test_an_empty_batch(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 9, num_layers=2, **options)
    found = results(layer, "fused", *data(layer, 6, 0))
    assert found["output"].shape == (6, 0, 9)
    assert found["last h"].shape == (2, 0, 9)
    assert not any(found[f"d {name}"].any() for name, _ in layer.named_parameters())
    assert_parity(layer, *data(layer, 6, 0))


@every_cell
def test_states_carried_over_several_calls(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 19, num_layers=2, **options)
    x, states = data(layer, 12, 3)

    def carried(backend: str) -> dict[str, Tensor]:
        layer.backend = backend  # type: ignore[assignment]
        torch.manual_seed(3)
        state, loss = (states if cell == "LSTM" else states[0]), 0.0
        for part in x.split(5):
            output, state = layer(part, state)
            loss = loss + output.square().sum()
        gradients = torch.autograd.grad(loss, list(layer.parameters()))
        return {"output": output, **dict(zip(map(str, range(99)), gradients, strict=False))}

    assert_close(carried("fused"), carried("reference"), 1e-11)


@pytest.mark.parametrize(("cell", "options"), PLAIN, ids=str)
def test_parts_of_a_sequence_give_what_the_whole_gives(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 19, backend="fused", **options)
    x, states = data(layer, 12, 3)
    state = states if cell == "LSTM" else states[0]
    whole, _ = layer(x, state)
    parts = []
    for part in x.split([1, 8, 3]):
        output, state = layer(part, state)
        parts.append(output)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("cell", "options"), FULL, ids=str)
def test_gradcheck_of_everything_together(cell: str, options: Arguments) -> None:
    layer = make(cell, 2, 3, num_layers=2, batch_first=True, dropout=0.2, backend="fused", **options)
    names = [name for name, _ in layer.named_parameters()]
    x, states = data(layer, 3, 2)
    x = x.transpose(0, 1).requires_grad_()
    first = [state[:, :1].clone().requires_grad_() for state in states]

    def run(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        state = tuple(part.expand(-1, 2, -1) for part in tensors[: len(first)])
        given = dict(zip(names, tensors[len(first) :], strict=True))
        torch.manual_seed(5)
        output, last = torch.func.functional_call(layer, given, (x, state if cell == "LSTM" else state[0]))
        return output, *(last if cell == "LSTM" else (last,))

    assert torch.autograd.gradcheck(run, (x, *first, *layer.parameters()))


RATES = st.sampled_from([0.0, 0.05, 0.5, 1.0])


@st.composite
def layers(draw: st.DrawFn) -> Recurrent:
    """Any layer of a few units, in training or evaluation."""
    cell = draw(st.sampled_from(["LSTM", "GRU", "RNN"]))
    rates = {
        "LSTM": ["zoneout_cell", "zoneout_hidden", "recurrent_dropout", "weight_dropout"],
        "GRU": ["zoneout_hidden", "recurrent_dropout", "weight_dropout"],
        "RNN": ["zoneout_hidden", "weight_dropout"],
    }[cell]
    options: Arguments = {rate: draw(RATES) for rate in rates}
    if cell == "GRU":
        options["reset"] = draw(st.sampled_from(["after", "before"]))
    if cell == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    options |= {"norm": draw(st.sampled_from([None, "layer"])), "bias": draw(st.booleans())}
    options |= {"num_layers": draw(st.integers(1, 3)), "dropout": 0.0}
    if options["num_layers"] != 1:
        options["dropout"] = draw(st.sampled_from([0.0, 0.5]))
    layer = make(cell, draw(st.integers(1, 9)), draw(st.integers(1, 40)), **options)
    return layer.train(draw(st.booleans()))


@settings(max_examples=80, deadline=None)
@given(layer=layers(), steps=st.integers(1, 12), rows=st.integers(0, 9))
def test_any_sizes_and_options(layer: Recurrent, steps: int, rows: int) -> None:
    assert_parity(layer, *data(layer, steps, rows), 1e-9)


# ------------------------------------------------------------------------------------------------------------- memory


@every_cell
def test_every_element_of_a_new_array_is_written(
    cell: str, options: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make(cell, 4, 19, **options)
    want = results(layer, "reference", *data(layer, 6, 5))
    filled = poison_new_memory(monkeypatch)
    assert_close(results(layer, "fused", *data(layer, 6, 5)), want, 1e-12)
    assert len(filled) >= 4


@pytest.mark.parametrize("learns", [True, False])
def test_a_call_without_a_state_that_the_cell_has_is_refused(learns: bool) -> None:
    layer = make("LSTM", 3, 4).requires_grad_(learns)
    x, (h, c) = data(layer, 2, 2)
    run, first = sequence.kernel("LSTM"), layer.first_layer(x)
    with pytest.raises(ValueError, match="lstm_forward was not given c0"):
        run(x, (h[0],), first)
    assert run(x, (h[0], c[0]), first)[0].shape == (2, 2, 4)


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("name", ["weight_hh_l0", "bias_ih_l0", "norm_c_l0", "norm_ih_l0"])
def test_parameters_of_different_types_are_refused(name: str, learns: bool) -> None:
    layer = make("LSTM", 3, 64, norm="layer").requires_grad_(learns)
    setattr(layer, name, torch.nn.Parameter(getattr(layer, name).float(), requires_grad=learns))
    with pytest.raises(ValueError, match=r"of one dtype, got torch.float32, torch.float64"):
        layer(torch.zeros(2, 2, 3, dtype=F64))
