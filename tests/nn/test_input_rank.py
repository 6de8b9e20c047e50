"""Input-to-hidden weights of low rank, alone and beside those of the state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import lsseq.nn as lnn
from lsseq.nn import init
from lsseq.nn.kernels import factors
from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.dispatch import choose
from lsseq.nn.parts.transition import transition_of
from lsseq.nn.recurrent import Recurrent

I, H, R = 6, 8, 3
F64 = torch.float64
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
CELLS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("GRU", {}),
    ("GRU", {"reset": "before"}),
    ("RNN", {}),
    ("LSTM", {"norm": "layer", "zoneout_cell": 0.4}),
    ("GRU", {"norm": "layer"}),
]
FORMS: list[dict[str, Any]] = [{}, {"tied_rank": True}, {"rank": 2, "diagonal": True}, {"rank": 2, "tied_rank": True}]
each_cell = pytest.mark.parametrize(("cell", "options"), CELLS, ids=str)
each_form = pytest.mark.parametrize("form", FORMS, ids=str)
needs_kernels = pytest.mark.skipif(isinstance(native.compiled(), str), reason="no fused kernels")


def layer_of(cell: str, **options: Any) -> Recurrent:
    torch.manual_seed(0)
    layer: Recurrent = getattr(lnn, cell)(I, H, **{"input_rank": R, "dtype": F64, **options})
    return layer


def whole(layer: Recurrent, **options: Any) -> Recurrent:
    """A layer without factors, of the same matrices."""
    other = layer_of(type(layer).__name__, input_rank=None, num_layers=layer.num_layers, **options)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(
                transition_of(layer, name).compose() if name.startswith("weight_") else layer.get_parameter(name)
            )
    return other


def run(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of the parameters."""
    torch.manual_seed(1)
    x = x.detach().requires_grad_()
    output = layer(x)[0]
    return [output, *torch.autograd.grad((output * output.cos()).sum(), [x, *layer.parameters()])]


@each_form
@pytest.mark.parametrize("cell", GATES)
def test_names_and_shapes_of_the_parameters(cell: str, form: dict[str, Any]) -> None:
    layer, gates = layer_of(cell, num_layers=2, **form), GATES[cell]
    tied = form.get("tied_rank", False)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters() if "weight_ih" in name}
    assert shapes == {
        "weight_ih_l0_left": (gates * H, R),
        "weight_ih_l0_right": (R if tied else gates * R, I),
        "weight_ih_l1_left": (gates * H, R),
        "weight_ih_l1_right": (R if tied else gates * R, H),
    }
    assert hasattr(layer, "weight_hh_l0") == ("rank" not in form)


@each_cell
@each_form
def test_equals_the_layer_of_the_composed_matrices(cell: str, options: dict[str, Any], form: dict[str, Any]) -> None:
    layer = layer_of(cell, num_layers=2, backend="reference", **form, **options)
    x = torch.randn(6, 3, I, dtype=F64)
    torch.testing.assert_close(run(layer, x)[0], run(whole(layer, **options), x)[0], rtol=1e-11, atol=1e-13)


@pytest.fixture(params=[True, False], ids=["composed", "factor by factor"])
def composed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Which way the fused kernels go, whatever it costs."""
    monkeypatch.setattr(factors, "CHEAPER", 0.0 if request.param else math.inf)
    choose.cache_clear()
    yield request.param
    choose.cache_clear()


@needs_kernels
@each_cell
@each_form
def test_the_fused_kernels_give_what_the_reference_gives(
    cell: str, options: dict[str, Any], form: dict[str, Any], composed: bool
) -> None:
    layer = layer_of(cell, num_layers=2, **form, **options)
    x = torch.randn(9, 4, I, dtype=F64)
    layer.backend = "reference"
    want = run(layer, x)
    layer.backend = "fused"
    assert layer.choose_backend(training=True, x=x).composed_inputs == (composed,) * 2
    for got, right in zip(run(layer, x), want, strict=True):
        torch.testing.assert_close(got, right, rtol=1e-9, atol=1e-11)


@each_form
@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize(("dtype", "tolerances"), [(F64, (1e-12, 1e-10)), (torch.float32, (1e-6, 1e-5))], ids=str)
def test_composed_for_pytorch_gives_what_the_reference_gives(
    cell: str, form: dict[str, Any], dtype: torch.dtype, tolerances: tuple[float, float]
) -> None:
    layer = layer_of(cell, num_layers=2, dtype=dtype, backend="reference", **form)
    x = torch.randn(9, 4, I, dtype=dtype)
    want = run(layer, x)
    layer.backend = "cudnn"
    for place, (got, right) in enumerate(zip(run(layer, x), want, strict=True)):
        assert (got - right).abs().max() <= tolerances[place > 0] * max(right.abs().max().item(), 1.0)


@needs_kernels
@pytest.mark.parametrize("frozen", ["weight_ih_l0_left", "weight_ih_l0_right"])
def test_a_factor_that_does_not_learn(frozen: str) -> None:
    layer = layer_of("LSTM", backend="fused")
    x = torch.randn(5, 3, I, dtype=F64)
    everything = dict(zip(["x", *dict(layer.named_parameters())], run(layer, x)[1:], strict=True))
    layer.get_parameter(frozen).requires_grad_(False)
    torch.manual_seed(1)
    output = layer(x)[0]
    (output * output.cos()).sum().backward()
    for name, parameter in layer.named_parameters():
        if name == frozen:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, everything[name], rtol=1e-12, atol=1e-14)


@each_cell
def test_computed_once_more_in_the_backward_pass(cell: str, options: dict[str, Any]) -> None:
    x = torch.randn(5, 3, I, dtype=F64)
    kept, computed_again = (run(layer_of(cell, rank=2, recompute=again, **options), x) for again in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(computed_again, kept, strict=True))


@each_form
@pytest.mark.parametrize(("cell", "options"), CELLS[:4], ids=str)
def test_an_exported_layer_gives_the_same(cell: str, options: dict[str, Any], form: dict[str, Any]) -> None:
    layer = layer_of(cell, **form, **options).eval()
    x = torch.randn(3, 2, I, dtype=F64)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(layer, (x,), strict=False).module()(x)[0], layer(x)[0])


def test_autocast_composes_in_full_precision() -> None:
    layer = layer_of("LSTM", dtype=torch.float32)
    x = torch.randn(6, 3, I)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x)[0], whole(layer, dtype=torch.float32)(x)[0])


@pytest.mark.parametrize("backend", ["cudnn", "reference", "auto"])
def test_full_rank_is_the_dense_layer(backend: Any) -> None:
    dense = layer_of("GRU", input_rank=None, backend=backend)
    full = layer_of("GRU", input_rank=I, backend=backend)
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if name != "weight_ih_l0":
                full.get_parameter(name).copy_(parameter)
        full.get_parameter("weight_ih_l0_left").copy_(dense.weight_ih_l0)
        full.get_parameter("weight_ih_l0_right").copy_(torch.eye(I).repeat(3, 1))
    x = torch.randn(6, 3, I, dtype=F64)
    torch.testing.assert_close(full(x)[0], dense(x)[0], rtol=1e-11, atol=1e-12)


def test_what_only_pytorch_serves() -> None:
    layer = layer_of("LSTM", num_layers=2, bidirectional=True, proj_size=4, rank=2)
    theirs = nn.LSTM(I, H, num_layers=2, bidirectional=True, proj_size=4, dtype=F64)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            whole = name.startswith(("weight_ih", "weight_hh"))
            parameter.copy_(transition_of(layer, name).compose() if whole else layer.get_parameter(name))
    x = torch.randn(6, 3, I, dtype=F64)
    torch.testing.assert_close(layer(x)[0], theirs(x)[0], rtol=1e-11, atol=1e-13)
    packed = pack_padded_sequence(x, torch.tensor([4, 6, 2]), enforce_sorted=False)
    torch.testing.assert_close(layer(packed)[0].data, theirs(packed)[0].data, rtol=1e-11, atol=1e-13)


def test_starts_with_the_variance_of_a_whole_matrix() -> None:
    layer = lnn.LSTM(128, 256, input_rank=16)
    for _ in range(2):
        assert transition_of(layer, "weight_ih_l0").compose().std().item() == pytest.approx(
            1 / math.sqrt(3 * 256), rel=0.1
        )
        layer.reset_parameters()
    init.orthogonal_(layer)
    for left in layer.get_parameter("weight_ih_l0_left").split(256):
        torch.testing.assert_close(left.t() @ left, torch.eye(16), rtol=0, atol=1e-5)
    for right in layer.get_parameter("weight_ih_l0_right").split(16):
        torch.testing.assert_close(right @ right.t(), torch.eye(16), rtol=0, atol=1e-5)


def test_states_of_every_step_and_copies() -> None:
    layer = layer_of("LSTM", num_layers=2, rank=2)
    x = torch.randn(6, 3, I, dtype=F64)
    output, (h, _) = layer(x)
    states = layer.states_of_every_step(x)
    torch.testing.assert_close(states[0][-1], output, rtol=1e-12, atol=1e-14)
    other = layer_of("LSTM", num_layers=2, rank=2)
    other.reset_parameters()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x)[1][0], h)


def test_what_is_told() -> None:
    text = lnn.LSTM(64, 64, input_rank=4, backend="cudnn").explain()
    assert text.endswith("input weights of low rank are composed once a call, because these kernels know no factors")
    if not isinstance(native.compiled(), str):
        text = lnn.LSTM(30, 64, num_layers=2, input_rank=20, backend="fused").explain()
        assert "input weights of layer 0 of low rank are composed once a call, because factor by factor" in text
        assert "input weights of layer 1 of low rank are multiplied factor by factor, which takes 0.73 times" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_rank": 0}, r"input_rank should be an integer in range \[1, 6\], got 0"),
        ({"input_rank": 7}, r"input_rank should be an integer in range \[1, 6\], got 7"),
        ({"input_rank": 3, "diagonal": True}, "diagonal=True needs a rank"),
        ({"input_rank": None, "tied_rank": True}, "tied_rank=True needs a rank"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_of("LSTM", **options)
