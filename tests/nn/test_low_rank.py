"""Layers with hidden-to-hidden weights of low rank: parameters, limits, and the paths that compute them."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode

import lsseq.nn as lnn
from lsseq.nn import init
from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.factors import CHEAPER, Factors
from lsseq.nn.parts.transition import LowRank
from lsseq.nn.recurrent import Recurrent

I, H, R = 5, 8, 3
F64 = torch.float64
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
VARIANTS: list[tuple[str, dict[str, Any]]] = [("LSTM", {}), ("GRU", {}), ("GRU", {"reset": "before"}), ("RNN", {})]
FORMS = [{"diagonal": diagonal, "tied_rank": tied} for diagonal in (False, True) for tied in (False, True)]
each_cell = pytest.mark.parametrize("cell", GATES)
each_variant = pytest.mark.parametrize(("cell", "options"), VARIANTS, ids=str)
each_form = pytest.mark.parametrize("form", FORMS, ids=str)


def layer_of(cell: str, rank: int | None = R, dtype: torch.dtype = F64, **options: Any) -> Recurrent:
    torch.manual_seed(0)
    layer: Recurrent = getattr(lnn, cell)(I, H, rank=rank, dtype=dtype, **options)
    return layer


def factors_of(layer: Recurrent, name: str = "weight_hh_l0") -> LowRank:
    return LowRank(*(getattr(layer, f"{name}_{part}", None) for part in ("left", "right", "diag")))  # type: ignore[arg-type]


def composed_in(layer: Recurrent, other: nn.RNNBase) -> nn.RNNBase:
    """Another layer with the same weights, low-rank ones as whole matrices."""
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            weight = factors_of(layer, name).compose() if "weight_hh" in name else getattr(layer, name)
            parameter.copy_(weight)
    return other


def run(layer: nn.Module, x: Tensor | PackedSequence) -> tuple[list[Tensor], list[Tensor]]:
    """What a layer gives, and the gradients of its parameters."""
    torch.manual_seed(1)
    output, last = layer(x)
    output = output.data if isinstance(output, PackedSequence) else output
    found = [output, *(last if isinstance(last, tuple) else (last,))]
    loss = torch.stack([(part * part.cos()).sum() for part in found]).sum()
    return found, list(torch.autograd.grad(loss, list(layer.parameters())))


# -------------------------------------------------------------------------------------------------------- parameters


@each_form
@each_cell
def test_names_and_shapes_of_the_parameters(cell: str, form: dict[str, bool]) -> None:
    layer, gates = layer_of(cell, num_layers=2, **form), GATES[cell]
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters() if "weight_hh" in name}
    want = {}
    for k in range(2):
        want[f"weight_hh_l{k}_left"] = (gates * H, R)
        want[f"weight_hh_l{k}_right"] = (R if form["tied_rank"] else gates * R, H)
        if form["diagonal"]:
            want[f"weight_hh_l{k}_diag"] = (gates * H,)
    assert shapes == want
    assert set(layer.state_dict()) == {name for name, _ in layer.named_parameters()}


@pytest.mark.parametrize(
    ("units", "rank", "diagonal", "count"),
    [
        (128, None, False, 49_536),
        (128, 24, False, 18_816),
        (512, 4, False, 13_824),
        (64, 24, True, 9_600),
        (128, 24, True, 19_200),
        (256, 24, True, 38_400),
        (128, 50, True, 39_168),
    ],
)
def test_models_of_the_papers_sizes(units: int, rank: int | None, diagonal: bool, count: int) -> None:
    """Recurrent parameters with one bias a gate: the GRUs of permuted MNIST, and last that of the copy task."""
    gru = lnn.GRU(1, units, rank=rank, diagonal=diagonal)
    recurrent = sum(p.numel() for name, p in gru.named_parameters() if "weight_hh" in name or name == "bias_hh_l0")
    assert recurrent == count


@each_variant
def test_copies_saved_states_and_formats(cell: str, options: dict[str, Any]) -> None:
    layer = layer_of(cell, num_layers=2, diagonal=True, norm="layer", **options)
    x = torch.randn(4, 2, I, dtype=F64)
    want, gradients = run(layer, x)
    other = layer_of(cell, num_layers=2, diagonal=True, norm="layer", **options)
    other.reset_parameters()
    other.load_state_dict(layer.state_dict())
    for same in (copy.deepcopy(layer), other):
        same.flatten_parameters()
        got, again = run(same, x)
        assert all(torch.equal(a, b) for a, b in zip([*got, *again], [*want, *gradients], strict=True))
    narrow = copy.deepcopy(layer).to(torch.float32)
    assert all(p.dtype == torch.float32 for p in narrow.parameters())
    torch.testing.assert_close(run(narrow, x.float())[0][0], want[0].float(), rtol=1e-4, atol=1e-5)
    # The list that `torch.nn` keeps of its weights holds no whole matrix.
    kept = {id(weight) for weight in layer._flat_weights if isinstance(weight, Tensor)}
    assert kept <= {id(parameter) for parameter in layer.parameters()}


@each_form
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_the_weights_of_every_layer_as_torch_lists_them(bias: bool, form: dict[str, bool]) -> None:
    layer = layer_of("LSTM", num_layers=2, bidirectional=True, bias=bias, **form)
    shapes = [[tuple(weight.shape) for weight in weights] for weights in layer.all_weights]
    theirs = [
        [tuple(weight.shape) for weight in weights] for weights in nn.LSTM(I, H, 2, bias, False, 0, True).all_weights
    ]
    factors = [(4 * H, R), (R if form["tied_rank"] else 4 * R, H), *([(4 * H,)] if form["diagonal"] else [])]
    assert shapes == [[weights[0], *factors, *weights[2:]] for weights in theirs]
    listed = {id(weight) for weights in layer.all_weights for weight in weights}
    assert listed == {id(parameter) for parameter in layer.parameters()}


@pytest.mark.parametrize("cell", GATES)
def test_no_whole_matrix_is_held_for_a_moment(cell: str) -> None:
    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.device.type != "meta":
                self.numbers = max(self.numbers, result.numel())
            return result

    with Largest() as largest:
        layer = getattr(lnn, cell)(64, 128, rank=2, input_rank=3, diagonal=True)
    assert largest.numbers == max(parameter.numel() for parameter in layer.parameters())
    with torch.device("meta"):
        assert getattr(lnn, cell)(64, 128, rank=2).weight_hh_l0_left.is_meta
    assert getattr(lnn, cell)(64, 128, rank=2, device="meta", norm="layer").norm_hh_l0.is_meta


@pytest.mark.parametrize("cell", GATES)
def test_starting_anew(cell: str) -> None:
    torch.manual_seed(0)
    layer = getattr(lnn, cell)(I, 256, rank=16, diagonal=True)
    for _ in range(2):
        product = factors_of(layer).compose()
        assert product.std().item() == pytest.approx(1 / math.sqrt(3 * 256), rel=0.1)
        assert layer.weight_hh_l0_diag.abs().max() <= 0.01
        before = layer.weight_hh_l0_left.clone()
        layer.reset_parameters()
        assert not torch.equal(layer.weight_hh_l0_left, before)


def test_without_a_rank_nothing_is_drawn_or_named_otherwise() -> None:
    torch.manual_seed(0)
    ours = lnn.LSTM(I, H)
    torch.manual_seed(0)
    theirs = nn.LSTM(I, H)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_initialisations_take_the_factors_by_gate(tied: bool) -> None:
    layer = layer_of("GRU", diagonal=True, tied_rank=tied)
    diagonal = layer.weight_hh_l0_diag.clone()
    init.orthogonal_(layer)
    for left in layer.weight_hh_l0_left.split(H):
        torch.testing.assert_close(left.t() @ left, torch.eye(R, dtype=F64))
    for right in layer.weight_hh_l0_right.split(R):
        torch.testing.assert_close(right @ right.t(), torch.eye(R, dtype=F64))
    init.glorot_(layer)
    assert 0 < layer.weight_hh_l0_right.abs().max() <= math.sqrt(6 / (H + R))
    assert torch.equal(layer.weight_hh_l0_diag, diagonal)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, r"rank should be an integer in range \[1, 8\], got 0"),
        ({"rank": 9}, r"rank should be an integer in range \[1, 8\], got 9"),
        ({"rank": None, "diagonal": True}, "diagonal=True needs a rank"),
        ({"rank": None, "tied_rank": True}, "tied_rank=True needs a rank"),
        ({"rank": 2, "proj_size": 4, "diagonal": True}, "diagonal=True needs square matrices"),
        ({"rank": 2, "bidirectional": True, "zoneout_cell": 0.5}, "served by PyTorch's own kernels only"),
        ({"rank": 2, "proj_size": 4, "backend": "fused"}, "served by PyTorch's own kernels only"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lnn.LSTM(I, H, **options)


# ------------------------------------------------------------------------------------------------------------- limits


@each_variant
@pytest.mark.parametrize("factors", ["identity", "svd"])
def test_full_rank_is_the_dense_layer(cell: str, options: dict[str, Any], factors: str) -> None:
    dense, full = layer_of(cell, None, **options), layer_of(cell, H, **options)
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if name != "weight_hh_l0":
                getattr(full, name).copy_(parameter)
        for k, U in enumerate(dense.weight_hh_l0.split(H)):
            left, right = U, torch.eye(H, dtype=F64)
            if factors == "svd":
                u, s, v = torch.linalg.svd(U)
                left, right = u * s.sqrt(), s.sqrt().unsqueeze(1) * v
            full.weight_hh_l0_left[k * H : (k + 1) * H] = left
            full.weight_hh_l0_right[k * H : (k + 1) * H] = right
    x = torch.randn(6, 3, I, dtype=F64)
    for backend in ("reference", "auto"):
        dense.backend = full.backend = backend  # type: ignore[assignment]
        torch.testing.assert_close(full(x)[0], dense(x)[0], rtol=1e-11, atol=1e-12)


@each_variant
def test_a_shared_factor_is_a_repeated_one(cell: str, options: dict[str, Any]) -> None:
    tied = layer_of(cell, diagonal=True, tied_rank=True, **options)
    untied = layer_of(cell, diagonal=True, **options)
    with torch.no_grad():
        for name, parameter in tied.named_parameters():
            getattr(untied, name).copy_(parameter.repeat(GATES[cell], 1) if name.endswith("right") else parameter)
    x = torch.randn(6, 3, I, dtype=F64)
    for backend in ("reference", "auto"):
        tied.backend = untied.backend = backend  # type: ignore[assignment]
        torch.testing.assert_close(untied(x)[0], tied(x)[0], rtol=1e-11, atol=1e-12)


def test_the_two_resets_differ() -> None:
    before, after = (layer_of("GRU", reset=reset, tied_rank=True) for reset in ("before", "after"))
    x = torch.randn(6, 3, I, dtype=F64)
    assert (before(x)[0] - after(x)[0]).abs().max() > 1e-3


# -------------------------------------------------------------------------------------------------------------- paths


@each_form
@each_variant
@pytest.mark.parametrize(("dtype", "tolerances"), [(F64, (1e-12, 1e-10)), (torch.float32, (1e-6, 1e-5))], ids=str)
def test_every_path_gives_the_same(
    cell: str, options: dict[str, Any], form: dict[str, bool], dtype: torch.dtype, tolerances: tuple[float, float]
) -> None:
    layer = layer_of(cell, dtype=dtype, num_layers=2, **form, **options)
    x = torch.randn(9, 4, I, dtype=dtype)
    layer.backend = "reference"
    want, gradients = run(layer, x)
    backends = [] if options else ["cudnn"]
    backends += [] if isinstance(native.compiled(), str) else ["fused"]
    for backend in [*backends, "auto"]:
        layer.backend = backend  # type: ignore[assignment]
        got, found = run(layer, x)
        for pairs, tolerance in (
            (zip(got, want, strict=True), tolerances[0]),
            (zip(found, gradients, strict=True), tolerances[1]),
        ):
            for a, b in pairs:
                assert (a - b).abs().max() <= tolerance * max(b.abs().max().item(), 1.0)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("proj_size", [0, 4])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_only_pytorch_serves_is_composed(bidirectional: bool, proj_size: int, bias: bool) -> None:
    shared: dict[str, Any] = {"num_layers": 2, "bias": bias, "bidirectional": bidirectional, "proj_size": proj_size}
    layer = layer_of("LSTM", 2, diagonal=not proj_size, **shared)
    theirs = composed_in(layer, nn.LSTM(I, H, dtype=F64, **shared))
    x = torch.randn(6, 3, I, dtype=F64)
    packed = pack_padded_sequence(x, torch.tensor([4, 6, 2]), enforce_sorted=False)
    for given in (x, packed):
        for got, want in zip(run(layer, given)[0], run(theirs, given)[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


def test_composed_anew_after_every_step_of_an_optimiser() -> None:
    layer = layer_of("LSTM", backend="cudnn")
    x = torch.randn(6, 3, I, dtype=F64)
    before = layer(x)[0]
    torch.optim.SGD(layer.parameters(), 1.0).step(lambda: before.square().sum().backward())
    theirs = composed_in(layer, nn.LSTM(I, H, dtype=F64))
    torch.testing.assert_close(layer(x)[0], theirs(x)[0], rtol=1e-11, atol=1e-13)
    assert not torch.allclose(layer(x)[0], before)


@each_variant
def test_weight_dropout_is_of_the_composed_matrix(cell: str, options: dict[str, Any]) -> None:
    layer = layer_of(cell, diagonal=True, weight_dropout=0.4, **options)
    dense = layer_of(cell, None, weight_dropout=0.4, **options)
    composed_in(layer, dense)
    x = torch.randn(6, 3, I, dtype=F64)
    for backend in ("reference", "auto"):
        layer.backend = dense.backend = backend  # type: ignore[assignment]
        torch.testing.assert_close(run(layer, x)[0][0], run(dense, x)[0][0], rtol=1e-11, atol=1e-12)


def test_autocast_composes_in_full_precision() -> None:
    layer = layer_of("LSTM", dtype=torch.float32, diagonal=True)
    theirs = composed_in(layer, nn.LSTM(I, H))
    x = torch.randn(6, 3, I)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x)[0], theirs(x)[0])


@each_form
@pytest.mark.parametrize(("cell", "options"), [*VARIANTS, ("LSTM", {"zoneout_cell": 0.5})], ids=str)
def test_an_exported_layer_gives_the_same(cell: str, options: dict[str, Any], form: dict[str, bool]) -> None:
    layer = layer_of(cell, **form, **options).eval()
    x = torch.randn(3, 2, I, dtype=F64)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(layer, (x,), strict=False).module()(x)[0], layer(x)[0])


# ---------------------------------------------------------------------------------------------------------- the choice


def test_cost() -> None:
    many = 1 << 40
    assert Factors(4, 1024, 512, tied=False, states=many).cost == pytest.approx(1.0)
    assert Factors(4, 1000, 800, tied=True, states=many).cost == pytest.approx(1.0)
    assert Factors(3, 1000, 750, tied=True, states=many).cost == pytest.approx(1.0)
    assert Factors(3, 1000, 500, tied=False, states=500).cost == pytest.approx(0.5)
    assert Factors(4, 1000, 60, tied=False, columns=120, states=many).cost == pytest.approx(60 * (160 + 1000) / 120_000)
    assert Factors(4, 1000, 60, tied=True, columns=120, states=many).cost == pytest.approx(60 * (160 + 4000) / 480_000)


@pytest.mark.skipif(isinstance(native.compiled(), str), reason="no fused kernels")
def test_the_cheaper_way_is_taken_and_told() -> None:
    low, high = (lnn.LSTM(16, 64, rank=rank) for rank in (8, 60))
    assert Factors(4, 64, 8, tied=False).cost < CHEAPER < Factors(4, 64, 60, tied=False).cost
    assert "multiplied factor by factor, which takes 0.25 times" in low.explain()
    assert "composed once a call, because factor by factor takes 1.85 times" in high.explain()
    # A single step is cheaper than to compose the matrix for it.
    assert not high.choose_backend(training=False, x=torch.zeros(1, 1, 16)).composed
    low.weight_dropout = 0.5
    training, evaluation = low.explain().splitlines()
    assert "because weight_dropout drops entries" in training
    assert "factor by factor, which" in evaluation
    low.backend = "cudnn"
    assert "because these kernels know no factors" in low.explain()
