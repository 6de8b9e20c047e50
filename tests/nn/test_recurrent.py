"""What the recurrent layers share: parity with torch.nn, shapes and states, choice of back end, refusals."""

from __future__ import annotations

import copy
import inspect
import io

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

import lsseq.nn as lnn
from lsseq.nn.random import Kind, bernoulli, draw_key

F64 = torch.float64
CELLS = ["LSTM", "GRU", "RNN"]
T, B, I, H = 7, 3, 5, 6


def pair(cell: str, seed: int = 0, options: dict[str, object] | None = None, **arguments: object) -> tuple:
    """A layer of ours with `options`, and torch's, with the same weights."""
    torch.manual_seed(seed)
    theirs = getattr(nn, cell)(I, H, dtype=F64, **arguments)
    ours = getattr(lnn, cell)(I, H, dtype=F64, **arguments, **(options or {}))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def initial(cell: str, rows: int, batch: int = B, proj: int = 0, seed: int = 1) -> object:
    g = torch.Generator().manual_seed(seed)
    h = torch.randn(rows, batch, proj or H, dtype=F64, generator=g)
    return (h, torch.randn(rows, batch, H, dtype=F64, generator=g)) if cell == "LSTM" else h


def tensors(*values: object) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, (Tensor, PackedSequence)):
            found.append(value.data if isinstance(value, PackedSequence) else value)
        else:
            found += tensors(*value)
    return found


def assert_same(ours: tuple, theirs: tuple, tolerance: float = 1e-12) -> None:
    for got, want in zip(tensors(*ours), tensors(*theirs), strict=True):
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance / 100)


VENDOR = [
    {},
    {"num_layers": 3},
    {"bias": False},
    {"batch_first": True},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "bias": False, "batch_first": True},
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("arguments", VENDOR, ids=str)
def test_equals_torch_without_options(cell: str, arguments: dict[str, object]) -> None:
    ours, theirs = pair(cell, **arguments)
    x = torch.randn(*((B, T, I) if "batch_first" in arguments else (T, B, I)), dtype=F64)
    rows = ours.num_layers * (2 if ours.bidirectional else 1)
    for state in (None, initial(cell, rows)):
        assert_same(ours(x, state), theirs(x, state))
    for got, want in zip(ours.parameters(), theirs.parameters(), strict=True):
        grads = torch.autograd.grad(ours(x)[0].sum(), got), torch.autograd.grad(theirs(x)[0].sum(), want)
        assert_same(*grads)


def test_vendor_equals_torch_to_the_bit() -> None:
    for cell in CELLS:
        ours, theirs = pair(cell, options={"backend": "cudnn"})
        x = torch.randn(T, B, I, dtype=F64)
        assert_same(ours(x), theirs(x), 0.0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("arguments", [{}, {"num_layers": 2}, {"bias": False}, {"batch_first": True}], ids=str)
def test_reference_equals_torch(cell: str, arguments: dict[str, object]) -> None:
    ours, theirs = pair(cell, options={"backend": "reference"}, **arguments)
    x = torch.randn(*((B, T, I) if "batch_first" in arguments else (T, B, I)), dtype=F64, requires_grad=True)
    state = initial(cell, ours.num_layers)
    for tensor in tensors(state):
        tensor.requires_grad_()
    results = ours(x, state), theirs(x, state)
    assert_same(*results)
    grads = []
    for result, layer in zip(results, (ours, theirs), strict=True):
        loss = sum(tensor.square().sum() for tensor in tensors(*result))
        grads.append(torch.autograd.grad(loss, [x, *tensors(state), *layer.parameters()]))
    assert_same(*grads)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 1), (63, 2)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_reference_at_odd_sizes(cell: str, shape: tuple[int, int]) -> None:
    ours, theirs = pair(cell, options={"backend": "reference"})
    x = torch.randn(*shape, I, dtype=F64)
    assert_same(ours(x), theirs(x))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_nonlinearities(nonlinearity: str) -> None:
    x = torch.randn(T, B, I, dtype=F64)
    for options in ({}, {"backend": "reference"}, {"weight_dropout": 1e-15}):
        ours, theirs = pair("RNN", options=options, nonlinearity=nonlinearity)
        assert_same(ours(x), theirs(x))


@pytest.mark.parametrize("cell", CELLS)
def test_initialisation_and_signature_are_torchs(cell: str) -> None:
    torch.manual_seed(3)
    theirs = getattr(nn, cell)(I, H, 2).state_dict()
    torch.manual_seed(3)
    ours = getattr(lnn, cell)(I, H, 2).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    getattr(nn, cell)(I, H, 2).load_state_dict(ours)
    documented = getattr(nn, cell).__doc__.split("\n")[0]
    order = [name.split("=")[0] for name in documented[documented.index("(") + 1 : -1].split(",")]
    accepted = inspect.signature(getattr(lnn, cell)).parameters.values()
    assert [p.name for p in accepted if p.kind is p.POSITIONAL_OR_KEYWORD] == [name.strip() for name in order]
    assert isinstance(getattr(lnn, cell)(I, H), getattr(nn, cell))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_projections(bidirectional: bool) -> None:
    ours, theirs = pair("LSTM", num_layers=2, proj_size=4, bidirectional=bidirectional)
    x, state = torch.randn(T, B, I, dtype=F64), initial("LSTM", 4 if bidirectional else 2, proj=4)
    assert_same(ours(x, state), theirs(x, state), 0.0)
    # The same kernels with a weight given from outside; a rate that drops nothing here.
    ours.weight_dropout = 1e-15
    assert_same(ours(x, state), theirs(x, state))
    assert_same(ours(x), theirs(x))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"backend": "reference"}, {"weight_dropout": 1e-15}], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched(cell: str, options: dict[str, object], batch_first: bool) -> None:
    ours, theirs = pair(cell, options=options, num_layers=2, batch_first=batch_first)
    x = torch.randn(T, I, dtype=F64)
    state = initial(cell, 2)
    state = tuple(s[:, 0] for s in state) if cell == "LSTM" else state[:, 0]
    for hx in (None, state):
        assert_same(ours(x, hx), theirs(x, hx))


# ----------------------------------------------------------------------------------------------------------- packed


def packed() -> PackedSequence:
    g = torch.Generator().manual_seed(2)
    return pack_sequence([torch.randn(n, I, dtype=F64, generator=g) for n in (3, 7, 5)], enforce_sorted=False)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"weight_dropout": 1e-15}], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed(cell: str, options: dict[str, object], bidirectional: bool) -> None:
    ours, theirs = pair(cell, options=options, num_layers=2, bidirectional=bidirectional)
    for state in (None, initial(cell, 4 if bidirectional else 2)):
        got, want = ours(packed(), state), theirs(packed(), state)
        assert_same(got, want)
        assert torch.equal(got[0].unsorted_indices, want[0].unsorted_indices)


@pytest.mark.parametrize("mask", ["step", "sequence"])
def test_packed_rows_get_the_masks_of_their_place_in_the_batch(mask: str) -> None:
    layer = lnn.GRU(I, H, 2, dtype=F64, dropout=0.5, dropout_mask=mask)
    torch.manual_seed(3)
    output, lengths = pad_packed_sequence(layer(packed())[0])
    x, _ = pad_packed_sequence(packed())
    torch.manual_seed(3)
    padded, _ = layer(x)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(output[:length, row], padded[:length, row], rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------------------------------- dropout between the layers


@pytest.mark.parametrize("backend", ["cudnn", "reference"])
@pytest.mark.parametrize("mask", ["step", "sequence"])
@pytest.mark.parametrize("cell", CELLS)
def test_dropout_between_layers(cell: str, mask: str, backend: str) -> None:
    layer = getattr(lnn, cell)(I, H, 3, dtype=F64, dropout=0.4, dropout_mask=mask, backend=backend)
    singles = [getattr(nn, cell)(size, H, dtype=F64) for size in (I, H, H)]
    for k, single in enumerate(singles):
        own = {name.replace(f"_l{k}", "_l0"): p for name, p in layer.state_dict().items() if f"_l{k}" in name}
        single.load_state_dict(own)
    x = torch.randn(T, B, I, dtype=F64)
    torch.manual_seed(3)
    key = draw_key()
    expected = whole = singles[0](x)[0]
    for k in (1, 2):
        dropped = bernoulli(key, k - 1, Kind.LAYER_DROPOUT, 0.4, T if mask == "step" else 1, B, H)
        expected, whole = singles[k](expected * (~dropped) / 0.6)[0], singles[k](whole)[0]
    torch.manual_seed(3)
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(layer.eval()(x)[0], whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_weight_dropout_of_every_layer_and_direction(cell: str) -> None:
    ours, theirs = pair(cell, options={"weight_dropout": 0.4}, num_layers=2, bidirectional=True)
    x = torch.randn(T, B, I, dtype=F64)
    torch.manual_seed(3)
    key = draw_key()
    weights = dict(theirs.named_parameters())
    for index, name in enumerate(f"weight_hh_l{k}{suffix}" for k in range(2) for suffix in ("", "_reverse")):
        dropped = bernoulli(key, index, Kind.WEIGHT_DROPOUT, 0.4, 1, *weights[name].shape)[0]
        weights[name] = weights[name] * ~dropped / 0.6
    torch.manual_seed(3)
    assert_same(ours(x), torch.func.functional_call(theirs, weights, (x,)))


def test_layers_draw_masks_of_their_own() -> None:
    layer = lnn.RNN(H, H, 2, nonlinearity="relu", zoneout_hidden=0.5, dtype=F64)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.eye(H) if name == "weight_ih_l0" else torch.zeros_like(parameter))
            if name.startswith("bias_ih"):
                parameter.fill_(1.0)
    _, h = layer(torch.rand(1, 400, H, dtype=F64) + 1)
    kept = (h == 0).double() - 0.5
    assert abs((kept[0] * kept[1]).mean() * 4) < 4 / (400 * H) ** 0.5


# ----------------------------------------------------------------------------------------------------- being a module


def test_copies_and_saved_states_give_the_same_output() -> None:
    layer = lnn.LSTM(I, H, 2, zoneout_cell=0.5, norm="layer", dropout=0.2).eval()
    x = torch.randn(T, B, I)
    assert torch.equal(copy.deepcopy(layer)(x)[0], layer(x)[0])
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = lnn.LSTM(I, H, 2, zoneout_cell=0.5, norm="layer", dropout=0.2).eval()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(x)[0], layer(x)[0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_no_grad_and_functional_call(cell: str, backend: str) -> None:
    ours, theirs = pair(cell, options={"backend": backend})
    x = torch.randn(T, B, I, dtype=F64)
    with torch.no_grad():
        assert not ours(x)[0].requires_grad
    other = {name: torch.zeros_like(p) for name, p in ours.named_parameters()}
    assert_same(torch.func.functional_call(ours, other, (x,)), torch.func.functional_call(theirs, other, (x,)))


def test_options_may_change_between_calls() -> None:
    layer = lnn.LSTM(I, H, zoneout_cell=0.5)
    assert "zoneout_cell=0.5" in layer.explain()
    layer.zoneout_cell = 0.0
    assert "zoneout_cell" not in layer.explain()
    with torch.no_grad():
        assert_same(layer(torch.zeros(2, 1, I)), nn.LSTM.forward(layer, torch.zeros(2, 1, I)), 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"norm": "layer"}], ids=str)
def test_autocast_keeps_states_in_the_weights_precision(options: dict[str, str], dtype: torch.dtype) -> None:
    x = torch.randn(T, B, I)
    layers = [
        lnn.LSTM(I, H, 2, zoneout_cell=0.5, zoneout_hidden=0.1, recurrent_dropout=0.2, **options),
        lnn.GRU(I, H, 2, zoneout_hidden=0.1, recurrent_dropout=0.2, **options),
        lnn.GRU(I, H, 2, reset="before", zoneout_hidden=0.1, **options),
        lnn.RNN(I, H, 2, zoneout_hidden=0.1, **options),
    ]
    for layer in layers:
        for training in (True, False):
            layer.train(training)
            torch.manual_seed(0)
            exact = layer(x)[0]
            torch.manual_seed(0)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output, state = layer(x.to(dtype))
            assert {tensor.dtype for tensor in tensors(output, state)} == {torch.float32}
            assert (output - exact).abs().mean() < 0.02


def test_on_the_meta_device() -> None:
    layer = lnn.LSTM(I, H, device="meta", zoneout_cell=0.5, norm="layer")
    output, (h, c) = layer(torch.empty(T, B, I, device="meta"))
    assert (output.shape, h.shape, c.shape) == ((T, B, H), (1, B, H), (1, B, H))


def test_repr() -> None:
    assert repr(lnn.LSTM(4, 5)) == "LSTM(4, 5)"
    layer = lnn.LSTM(4, 5, 2, dropout=0.5, dropout_mask="sequence", zoneout_cell=0.5, norm="layer", backend="reference")
    assert repr(layer) == (
        "LSTM(4, 5, num_layers=2, dropout=0.5, dropout_mask=sequence, norm=layer, backend=reference, zoneout_cell=0.5)"
    )


# ------------------------------------------------------------------------------------------- back ends and refusals


def test_explain() -> None:
    vendor = "cudnn (PyTorch's own kernels: cuDNN on CUDA, oneDNN or ATen on CPU)"
    loop = "reference (a loop over the steps in plain PyTorch operations)"
    assert lnn.LSTM(4, 5, backend="cudnn").explain() == f"LSTM: {vendor}: as requested"
    assert lnn.GRU(4, 5, backend="reference").explain() == f"GRU: {loop}: as requested"
    half = lnn.LSTM(4, 5, zoneout_cell=0.5, recurrent_dropout=0.25, dtype=torch.bfloat16)
    obstacle = "and the CPU kernels compute in float32 and float64, not bfloat16"
    assert half.explain() == (
        f"LSTM in training: {loop}: PyTorch's own kernels cannot serve zoneout_cell=0.5, recurrent_dropout=0.25, "
        f"{obstacle}\n"
        f"LSTM in evaluation: {loop}: PyTorch's own kernels cannot serve zoneout_cell=0.5, {obstacle}"
    )
    assert lnn.RNN(4, 5, bidirectional=True).explain() == f"RNN: {vendor}: nothing else serves bidirectional=True"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"backend": "fused", "dtype": torch.float16},
            "backend='fused': the CPU kernels compute in float32 and float64, not float16; use 'auto' or 'reference'",
        ),
        (
            {"backend": "cudnn", "zoneout_cell": 0.5, "norm": "layer"},
            "backend='cudnn': PyTorch's own kernels cannot serve zoneout_cell=0.5, norm='layer'; "
            "use 'auto' or 'reference'",
        ),
        (
            {"backend": "reference", "bidirectional": True},
            "backend='reference': bidirectional=True is served by PyTorch's own kernels only; use 'auto' or 'cudnn'",
        ),
        (
            {"proj_size": 2, "bidirectional": True, "zoneout_hidden": 0.1},
            "bidirectional=True, proj_size=2 is served by PyTorch's own kernels only, "
            "which cannot serve zoneout_hidden=0.1",
        ),
        (
            {"bidirectional": True, "recurrent_dropout": 0.1},
            "bidirectional=True is served by PyTorch's own kernels only, which cannot serve recurrent_dropout=0.1",
        ),
        ({"zoneout_cell": 1.5}, "zoneout_cell should be a number in range [0, 1], got 1.5"),
        ({"zoneout_hidden": -0.1}, "zoneout_hidden should be a number in range [0, 1], got -0.1"),
        ({"recurrent_dropout": True}, "recurrent_dropout should be a number in range [0, 1], got True"),
        ({"weight_dropout": "0.5"}, "weight_dropout should be a number in range [0, 1], got '0.5'"),
        ({"norm": "group"}, "norm should be one of None, 'layer', 'batch', got 'group'"),
        ({"dropout_mask": "word"}, "dropout_mask should be one of 'step', 'sequence', got 'word'"),
        ({"backend": "cuda"}, "backend should be one of 'auto', 'cudnn', 'fused', 'reference', got 'cuda'"),
    ],
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        lnn.LSTM(4, 5, **arguments)
    assert str(caught.value) == message


def test_options_of_other_recurrences_are_unknown() -> None:
    for cell, option in (
        ("GRU", "zoneout_cell"),
        ("RNN", "zoneout_cell"),
        ("RNN", "recurrent_dropout"),
        ("LSTM", "reset"),
    ):
        with pytest.raises(TypeError, match=option):
            getattr(lnn, cell)(4, 5, **{option: 0.1})


def test_packed_with_zoneout_is_refused() -> None:
    layer = lnn.LSTM(I, H, dtype=F64, zoneout_cell=0.5)
    with pytest.raises(
        ValueError, match=r"^PackedSequence is served by PyTorch's own kernels only, which cannot serve zo"
    ):
        layer(packed())


@pytest.mark.parametrize(
    ("shape", "state", "error", "message"),
    [
        ((0, B, I), None, RuntimeError, "Expected sequence length to be larger than 0 in RNN"),
        ((T, B, I + 1), None, RuntimeError, "input.size(-1) must be equal to input_size. Expected 5, got 6"),
        ((T,), None, ValueError, "GRU: Expected input to be 2D or 3D, got 1D instead"),
        ((T, B, I), (1, B + 1, H), RuntimeError, "Expected h size (1, 3, 6), got [1, 4, 6]"),
        ((T, B, I), (1, H), RuntimeError, "For 3-D input, the state should also be 3-D but got 2-D"),
    ],
)
def test_shapes_that_do_not_fit(
    shape: tuple[int, ...], state: tuple[int, ...] | None, error: type[Exception], message: str
) -> None:
    layer = lnn.GRU(I, H, backend="reference")
    with pytest.raises(error) as caught:
        layer(torch.zeros(shape), None if state is None else torch.zeros(state))
    assert str(caught.value) == message


WITH_OPTIONS = [
    ("LSTM", {"zoneout_cell": 0.3, "zoneout_hidden": 0.1, "norm": "layer"}),
    ("LSTM", {"num_layers": 2, "dropout": 0.2, "weight_dropout": 0.1}),
    ("GRU", {"num_layers": 2, "reset": "before", "recurrent_dropout": 0.2}),
    ("RNN", {"zoneout_hidden": 0.1}),
]


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(("cell", "options"), WITH_OPTIONS, ids=str)
def test_states_of_every_step(cell: str, options: dict[str, object], backend: str) -> None:
    layer = getattr(lnn, cell)(I, H, dtype=F64, backend=backend, **options)
    x = torch.randn(T, B, I, dtype=F64, requires_grad=True)
    state = initial(cell, layer.num_layers)
    torch.manual_seed(0)
    sequences = layer.states_of_every_step(x, state)
    torch.manual_seed(0)
    output, last = layer(x, state)
    assert_same(sequences[0][-1], output)
    assert_same([sequence[:, -1] for sequence in sequences], tensors(last))
    # One step at a time gives the same states where nothing is drawn.
    layer.eval()
    sequences = layer.states_of_every_step(x, state)
    for t in range(T):
        _, state = layer(x[t : t + 1], state)
        assert_same([sequence[:, t] for sequence in sequences], tensors(state))


def test_gradient_of_the_cells_of_every_step() -> None:
    layer = lnn.LSTM(I, H, dtype=F64, zoneout_cell=0.3)
    x = torch.randn(T, B, I, dtype=F64, requires_grad=True)

    def cells(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return layer.states_of_every_step(x)[1]

    assert torch.autograd.gradcheck(cells, x)


def test_states_of_every_step_are_not_told_by_the_vendor() -> None:
    with pytest.raises(
        ValueError, match="bidirectional=True is served by PyTorch's own kernels only, which cannot serve"
    ):
        lnn.LSTM(I, H, bidirectional=True).states_of_every_step(torch.zeros(T, B, I))
    with pytest.raises(ValueError, match=r"^GRU: Expected input to be 3D, got 2D instead$"):
        lnn.GRU(I, H).states_of_every_step(torch.zeros(T, I))


@pytest.mark.parametrize("backend", ["auto", "reference", "cudnn"])
@pytest.mark.parametrize(("cell", "options"), WITH_OPTIONS, ids=str)
def test_recomputing_changes_nothing(cell: str, options: dict[str, object], backend: str) -> None:
    if backend == "cudnn":
        options = {name: value for name, value in options.items() if name in ("num_layers", "dropout")}
    layer = getattr(lnn, cell)(I, H, dtype=F64, backend=backend, **options)
    x = torch.randn(T, B, I, dtype=F64, requires_grad=True)
    found = []
    for recompute in (False, True):
        layer.recompute = recompute
        torch.manual_seed(0)
        output, _ = layer(x)
        found.append((output, *torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])))
    assert_same(*found)


def test_recomputing_keeps_less() -> None:
    def kept(recompute: bool) -> int:
        layer = lnn.LSTM(I, H, zoneout_cell=0.5, recompute=recompute)
        sizes = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            layer(torch.randn(100, B, I))
        return sum(sizes)

    assert kept(True) < kept(False) / 4


@pytest.mark.parametrize("backend", ["auto", "cudnn", "fused", "reference"])
@pytest.mark.parametrize(
    ("cell", "count", "message"),
    [
        ("LSTM", 1, r"LSTM: expected a state of the tensors h \(1, B, 6\), c \(1, B, 6\); got \(Tensor\)"),
        ("LSTM", 3, r"got \(Tensor, Tensor, Tensor\)"),
        ("GRU", 2, r"GRU: expected a state of the tensors h \(1, B, 6\); got \(Tensor, Tensor\)"),
        ("RNN", 2, r"RNN: expected a state of the tensors h"),
        ("GRU", 0, r"got \(\)"),
    ],
)
def test_another_number_of_states_is_refused(cell: str, count: int, message: str, backend: str) -> None:
    layer, x = getattr(lnn, cell)(I, H, backend=backend), torch.randn(T, B, I)
    states = (torch.zeros(1, B, H),) * count
    for asked in [states, list(states), *states[: count == 1]]:
        with pytest.raises(ValueError, match=message):
            layer(x, asked)
    with pytest.raises(ValueError, match=message), torch.no_grad():
        getattr(lnn, cell)(I, H).states_of_every_step(x, states)
    with pytest.raises(ValueError, match=message):
        getattr(lnn, cell)(I, H, weight_dropout=0.5)(pack_sequence([x[:, 0]]), states)


def test_states_that_are_no_tensors_are_refused() -> None:
    with pytest.raises(TypeError, match=r"LSTM: expected a state .*; got \(NoneType, NoneType\)"):
        lnn.LSTM(I, H)(torch.randn(T, B, I), (None, None))
    batch = lnn.LSTM(I, H, norm="batch", norm_steps=T)
    with pytest.raises(ValueError, match=r"c \(1, B, 6\), count \(1, B, 1\); got \(Tensor\)"):
        batch(torch.randn(T, B, I), torch.zeros(1, B, H))


CHANGED = [
    (lambda: lnn.LSTM(I, H), "zoneout_cell"),
    (lambda: lnn.GRU(I, H), "zoneout_hidden"),
    (lambda: lnn.RHN(I, H), "state_dropout"),
    (lambda: lnn.MogrifierLSTM(I, H), "recurrent_dropout"),
    (lambda: lnn.HMLSTM(I, H, 2), "zoneout_hidden"),
]


@pytest.mark.parametrize(("make", "rate"), CHANGED)
def test_options_that_are_changed_are_checked_in_the_next_call(make, rate: str) -> None:
    layer, x = make(), torch.randn(T, B, I)
    layer.backend = "fusd"
    with pytest.raises(ValueError, match="backend should be one of 'auto', 'cudnn', 'fused', 'reference', got 'fusd'"):
        layer(x)
    layer.backend = "auto"
    setattr(layer, rate, 1.5)
    with pytest.raises(ValueError, match=rf"{rate} should be a number in range \[0, 1\], got 1.5"):
        layer(x)
