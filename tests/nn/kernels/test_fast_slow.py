"""The fused fast-slow network against the loop over its cells: outputs, last states and every gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, needs_kernels, poison_new_memory, weighted
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.explain import use_reference
from lsseq.nn.kernels.cpu import native, sequence
from lsseq.nn.state import flatten_state

pytestmark = needs_kernels

F32, F64 = torch.float32, torch.float64
RATES = {"zoneout_cell": 0.5, "zoneout_hidden": 0.05, "recurrent_dropout": 0.25}
# T, B, I, H, S, k: one step and many, one row and several, fewer units than a vector has and a remainder, either wider.
SIZES = [(1, 1, 3, 5, 7, 2), (2, 5, 3, 17, 2, 4), (40, 3, 4, 9, 37, 2), (3, 5, 2, 130, 19, 3), (2, 40, 7, 16, 16, 2)]
# Options of the cells, or of the network where they begin with a capital.
FORMS: list[dict[str, Any]] = [
    {},
    RATES,
    {"bias": False, "zoneout_hidden": 0.3},
    {"norm": "layer"},
    {"norm": "layer", "bias": False, "Dropout": "sequence"},
    {"norm": "layer", "weight_dropout": 0.2, **RATES, "Dropout": "step"},
    {"Dropout": "step"},
    {"Dropout": "sequence", **RATES},
    {"rank": 2},
    {"rank": 2, "tied_rank": True, **RATES},
    {"rank": 2, "diagonal": True, "norm": "layer", "Dropout": "sequence"},
]
each_type = pytest.mark.parametrize("dtype", [F32, F64], ids=["float32", "float64"])
each_form = pytest.mark.parametrize("options", FORMS, ids=str)


def make(
    inputs: int, units: int, slow: int, fast: int, dtype: torch.dtype = F64, *, backend: Any = "auto", **options: Any
) -> lnn.FastSlow:
    """A network whose gains differ from 1 and whose biases from 0; small gains, so that rounding errors do not grow."""
    torch.manual_seed(0)
    options = dict(options)
    mask = options.pop("Dropout", None)
    dropout = None if mask is None else lnn.Dropout(0.3, mask=mask)
    cells = [lnn.LSTM(size, units, dtype=dtype, **options) for size in [inputs, slow, *[1] * (fast - 2)]]
    made = lnn.FastSlow(cells, lnn.LSTM(units, slow, dtype=dtype, **options), dropout=dropout, backend=backend)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name:
                parameter.uniform_(-0.2, 0.2).add_(0.0 if "bias" in name else 0.4)
    return made


def tolerance(options: dict[str, Any], dtype: torch.dtype) -> float:
    """Norms of few units make rounding errors grow, from cell to cell within a step."""
    return {F32: 1e-5, F64: 1e-12}[dtype] * (20 if "norm" in options else 1)


def data(network: lnn.FastSlow, steps: int, rows: int) -> tuple[Tensor, list[Tensor]]:
    """An input (T, B, I), and h and c of the fast cells and of the slow one."""
    g, dtype = torch.Generator().manual_seed(1), next(network.parameters()).dtype
    x = torch.randn(steps, rows, network.input_size, dtype=dtype, generator=g)
    sizes: list[Any] = [network.hidden_size] * 2 + [network.slow.hidden_size] * 2
    return x, [torch.randn(1, rows, size, dtype=dtype, generator=g) for size in sizes]


def results(
    network: lnn.FastSlow, backend: Any, steps: int, rows: int, loss: Any = weighted, learns: str = ""
) -> dict[str, Tensor]:
    """What a network gives, with gradients and without, and the gradients of a loss of it, by name; the reference of it
    is that of its cells too."""
    for layer in (network, *network.fast, network.slow):
        layer.backend = "auto"  # type: ignore[assignment]
    network.backend = backend
    if backend == "reference":
        use_reference(network)
    x, states = data(network, steps, rows)
    names = ("h", "c", "slow h", "slow c")
    sources = {"x": x, **{f"initial {name}": state for name, state in zip(names, states, strict=True)}}
    for source in sources.values():
        source.requires_grad_(not learns)
    sources |= dict(network.named_parameters())
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(learns))

    def run() -> list[Tensor]:
        torch.manual_seed(3)
        h, c, slow_h, slow_c = states
        output, after = network(x, ((h, c), (slow_h, slow_c)))
        return [output, *flatten_state(after).values()]

    parts = run()
    with torch.no_grad():
        alone = run()[0]
    found = dict(zip(("output", *names), parts, strict=True)) | {"output without gradients": alone}
    wanted = {name: source for name, source in sources.items() if source.requires_grad}
    if wanted:
        gradients = torch.autograd.grad(loss(parts[0], tuple(parts[1:])), list(wanted.values()), allow_unused=True)
        found |= {f"d {name}": d for name, d in zip(wanted, gradients, strict=True) if d is not None}
    return found


def assert_parity(network: lnn.FastSlow, steps: int, rows: int, tolerance: float = 1e-12, **how: Any) -> None:
    assert_close(*(results(network, backend, steps, rows, **how) for backend in ("fused", "reference")), tolerance)


@each_type
@pytest.mark.parametrize("size", SIZES, ids=str)
@each_form
def test_parity(options: dict[str, Any], size: tuple[int, ...], dtype: torch.dtype) -> None:
    steps, rows, *sizes = size
    network = make(*sizes, dtype, **options)  # type: ignore[misc]
    assert_parity(network, steps, rows, tolerance(options, dtype))
    assert_parity(network.eval(), steps, rows, tolerance(options, dtype))


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 9),
    rows=st.integers(0, 9),
    inputs=st.integers(1, 5),
    units=st.integers(2, 21),
    slow=st.integers(2, 21),
    fast=st.integers(2, 5),
    options=st.sampled_from(FORMS),
    training=st.booleans(),
)
def test_parity_everywhere(
    steps: int, rows: int, inputs: int, units: int, slow: int, fast: int, options: dict[str, Any], training: bool
) -> None:
    assert_parity(make(inputs, units, slow, fast, **options).train(training), steps, rows, 1e-9)


def test_cells_of_different_options() -> None:
    fast = [lnn.LSTM(3, 19, norm="layer", zoneout_cell=0.5), lnn.LSTM(9, 19, rank=3, recurrent_dropout=0.2)]
    fast.append(lnn.LSTM(1, 19, bias=False, zoneout_hidden=0.2))
    network = lnn.FastSlow(fast, lnn.LSTM(19, 9, input_rank=4, weight_dropout=0.3)).double()
    assert_parity(network, 6, 5)
    assert_parity(network.eval(), 6, 5)
    for cell, other in ((lnn.LSTM(3, 19, input_rank=2), fast[1]), (lnn.LSTM(3, 19), lnn.LSTM(9, 19, input_rank=2))):
        assert_parity(lnn.FastSlow([cell, other], lnn.LSTM(19, 9, norm="layer")).double(), 6, 5)


@pytest.mark.parametrize("rows_and_steps", [1, 7, 20])
@each_form
def test_the_backward_pass_in_pieces(
    options: dict[str, Any], rows_and_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence, "_PIECE", rows_and_steps)
    assert_parity(make(4, 19, 7, 3, **options), 9, 3, 1e-11)


@pytest.mark.parametrize("rate", [0.0, 1.0, 2**-40])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("changed", [*RATES, "weight_dropout"])
def test_rates_at_the_ends(changed: str, training: bool, rate: float) -> None:
    network = make(4, 19, 7, 2, **{**RATES, changed: rate}, Dropout="step").train(training)
    assert_parity(network, 6, 3)


@each_type
@each_form
def test_every_instruction_set(options: dict[str, Any], dtype: torch.dtype, instruction_set: str) -> None:
    assert_parity(make(3, 37, 19, 3, dtype, **options), 9, 11, tolerance(options, dtype))


def test_more_than_a_packed_block() -> None:
    assert_parity(make(5, 530, 520, 2, norm="layer"), 2, 17)


@each_type
@pytest.mark.parametrize("size", [(5, 3, 2, 2), (4, 7, 37, 5), (3, 5, 130, 150), (4, 0, 19, 7)], ids=str)
@each_form
def test_any_number_of_threads_gives_the_same_to_the_bit(
    options: dict[str, Any], size: tuple[int, int, int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native.compiled().has_threads():
        pytest.skip("PyTorch brings no OpenMP runtime that the kernels can use")
    steps, rows, units, slow = size
    network = make(4, units, slow, 3, dtype, **options)
    monkeypatch.setattr(native, "threads", lambda *_: 1)
    want = results(network, "fused", steps, rows)
    for threads in (2, 3, 11):  # 11 are more than there are panels of units
        monkeypatch.setattr(native, "threads", lambda *_, n=threads: n)
        got = results(network, "fused", steps, rows)
        assert all(torch.equal(got[name], value) for name, value in want.items())


@pytest.mark.parametrize(
    "loss",
    [
        lambda output, last: output.sum(),
        lambda output, last: output[2].square().sum(),
        lambda output, last: last[0].square().sum(),
        lambda output, last: last[1].sum(),
        lambda output, last: last[2].square().sum(),
        lambda output, last: last[3].sum(),
    ],
    ids=["output, expanded", "output, one step", "last h", "last c", "last slow h", "last slow c"],
)
def test_upstream_gradients(loss: Any) -> None:
    assert_parity(make(4, 19, 7, 3, norm="layer"), 6, 6, loss=loss)


@pytest.mark.parametrize("learns", ["fast.0.weight_ih", "fast.1.weight_ih", "slow.norm_ih", "fast.2.bias", "nothing"])
@pytest.mark.parametrize("options", [{}, {"norm": "layer"}], ids=str)
def test_only_some_parameters_learn(options: dict[str, Any], learns: str) -> None:
    assert_parity(make(4, 19, 7, 3, **options), 6, 3, learns=learns)


@each_form
def test_gradcheck(options: dict[str, Any]) -> None:
    network = make(2, 3, 2, 3, backend="fused", **options)
    x, states = data(network, 3, 2)

    def run(x: Tensor, h: Tensor, c: Tensor, slow_h: Tensor, slow_c: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(5)
        output, last = network(x, ((h, c), (slow_h, slow_c)))
        return output, *flatten_state(last).values()

    inputs = [part.requires_grad_() for part in (x, *states)]
    assert torch.autograd.gradcheck(run, (*inputs, *network.parameters()))


def test_memory_that_nobody_wrote_to_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [make(4, 19, 7, 3, **options) for options in FORMS]
    clean = [results(network, "fused", 6, 3) for network in networks]
    filled = poison_new_memory(monkeypatch)
    for network, want in zip(networks, clean, strict=True):
        assert_close(results(network, "fused", 6, 3), want, 0.0)
    assert filled


def test_a_second_backward_pass_gives_the_same_and_a_second_derivative_is_refused() -> None:
    network = make(4, 9, 5, 3, backend="fused", norm="layer", **RATES)
    x = data(network, 6, 3)[0].requires_grad_()
    loss = network(x)[0].square().sum()
    first = torch.autograd.grad(loss, [x, *network.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [x, *network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    (d_x,) = torch.autograd.grad(network(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        d_x.sum().backward()


def test_what_the_backward_pass_needs_may_not_change_before_it() -> None:
    network = make(4, 9, 5, 2, backend="fused")
    x = data(network, 6, 3)[0]
    output, ((h, _), _) = network(x)
    with torch.no_grad():
        h.zero_()  # the caller's own
        x.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_shapes_and_types_that_do_not_fit() -> None:
    network = make(4, 9, 5, 2, backend="fused")
    x, (h, c, slow_h, slow_c) = data(network, 6, 3)
    with pytest.raises(RuntimeError, match=r"Expected c size \(1, 3, 9\)"):
        network(x, ((h, slow_c), (slow_h, slow_c)))
    with pytest.raises(RuntimeError, match=r"Expected h size \(1, 3, 5\)"):
        network(x, ((h, c), (h, slow_c)))
    with pytest.raises(ValueError, match="type"):
        network(x.float())


def test_choice() -> None:
    for options in FORMS:
        assert make(4, 19, 7, 3, **options).explain().startswith("FastSlow: fused (this project's kernels in C")
    network = make(4, 9, 5, 2, F32, zoneout_hidden=0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [results(network, backend, 6, 3) for backend in ("auto", "reference")]
        with pytest.raises(ValueError, match=r"^backend='fused': the fused kernels serve neither autocast nor"):
            results(network, "fused", 6, 3)
    assert_close(*found, 0.1)
    with pytest.raises(ValueError, match="compute in float32 and float64, not bfloat16"):
        make(4, 9, 5, 2, torch.bfloat16, backend="fused")
    with pytest.raises(ValueError, match="backend should be one of 'auto', 'fused', 'reference'"):
        make(4, 9, 5, 2, backend="cudnn")


@pytest.mark.parametrize(
    ("slow", "reason"),
    [
        (lambda: lnn.GRU(9, 5), "cells that are a GRU"),
        (lambda: lnn.LSTM(9, 5, 2), "cells with num_layers=2"),
        (lambda: lnn.LSTM(9, 5, norm="batch", norm_steps=4), "cells with norm='batch'"),
        (lambda: lnn.LSTM(9, 5, recompute=True), "cells with recompute=True"),
        (lambda: lnn.LSTM(9, 5, backend="reference"), "cells with backend='reference'"),
    ],
)
def test_other_cells_are_called_step_by_step(slow: Any, reason: str) -> None:
    fast = [lnn.LSTM(4, 9), lnn.LSTM(5, 9)]
    network = lnn.FastSlow(fast, slow())
    assert network.explain().endswith(f"the fused kernels cannot serve {reason}")
    assert network(torch.randn(3, 2, 4))[0].shape == (3, 2, 9)
    with pytest.raises(ValueError, match=f"^backend='fused': the fused kernels cannot serve {reason}; use"):
        lnn.FastSlow(fast, slow(), backend="fused")


def test_hooks_and_dropout_of_another_kind_are_called_step_by_step() -> None:
    network = make(4, 9, 5, 2)
    seen = []
    hook = network.slow.register_forward_hook(lambda *_: seen.append(1))
    assert network.explain().endswith("the fused kernels cannot serve cells with hooks")
    network(data(network, 6, 3)[0])
    assert len(seen) == 6
    hook.remove()
    network.dropout = torch.nn.Dropout(0.5)
    assert network.explain().endswith("the fused kernels cannot serve other dropout than `Dropout`")
