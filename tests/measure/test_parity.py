"""A back end that computes what the reference does is told from one that does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import kernels_at_hand as at_hand
import pytest
import torch
from torch import Tensor

from lsseq.errors import RequestError, RunError
from lsseq.measure.case import Case, Shape
from lsseq.measure.machine import without_tf32
from lsseq.measure.parity import measure_deviation, require_parity
from lsseq.nn import HMOutput
from lsseq.nn.cells.hmlstm import HMState
from lsseq.nn.kernels import dispatch
from lsseq.nn.kernels.hierarchy import Hierarchy, reference

SHAPE = Shape(5, 6, batch=3, steps=7)
ZONEOUT = {"zoneout_cell": 0.5, "zoneout_hidden": 0.2}


@pytest.mark.parametrize("backend", ["auto", "cudnn", "reference"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_sound_back_ends(cell: str, backend: str, dtype: torch.dtype) -> None:
    found = measure_deviation(Case(cell, {}, SHAPE, backend, dtype=dtype))
    assert found.met
    assert found.error > 0.0 or (backend, dtype) == ("reference", torch.float64)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("LSTM", ZONEOUT),
        ("LSTM", {"norm": "layer"}),
        ("LSTM", {"weight_dropout": 0.5, "recurrent_dropout": 0.3}),
        ("GRU", {"reset": "before"}),
        ("RNN", {"zoneout_hidden": 1.0}),
        ("HMLSTM", {"boundary_rates": [0.4]}),
        ("HMLSTM", {"boundary_rates": [0.4], "norm": "layer", "gradient": "select", **ZONEOUT}),
    ],
)
def test_options_and_layers(cell: str, options: dict[str, object]) -> None:
    assert measure_deviation(Case(cell, options, Shape(5, 6, batch=3, steps=40, layers=2))).met


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("RHN", {"depth": 3, "zoneout_hidden": 0.2, "recurrent_dropout": 0.1, "norm": "layer"}),
        ("MogrifierLSTM", {"rank": 2, **ZONEOUT}),
        ("FastSlow", {"fast": 3, "norm": "layer", **ZONEOUT}),
        ("LSTM", {"norm": "batch", **ZONEOUT}),
    ],
)
def test_layers_without_kernels_of_their_own(cell: str, options: dict[str, object]) -> None:
    assert measure_deviation(Case(cell, options, SHAPE)).met


@pytest.mark.parametrize(
    ("fault", "tensor", "least"),
    [
        (at_hand.output_off, "output", 0.9e-4),
        (at_hand.state_off, "_n", 0.1),
        (at_hand.gradient_off, "the gradient of weight_hh_l0", 0.9e-3),
        (at_hand.no_masks, "", 0.01),
        (at_hand.rates_forgotten, "in evaluation", 0.01),
        (at_hand.not_a_number, "", math.inf),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_faults_are_found_and_named(fault: at_hand.Fault, tensor: str, least: float) -> None:
    case = Case("LSTM", ZONEOUT, SHAPE, "fused")
    with at_hand.fused(fault):
        found = measure_deviation(case)
        with pytest.raises(RunError) as refused:
            require_parity(case)
    assert not found.met
    assert tensor in found.tensor
    assert found.error >= least
    assert refused.value.message == (
        "LSTM(zoneout_cell=0.5, zoneout_hidden=0.2) is not timed: its back end `fused` deviates from the reference: "
        f"{found}"
    )


@pytest.mark.parametrize("name", ["the output of layer 1", "h_n of layer 0", "c_n of layer 1", "z̃", "s"])
def test_faults_of_the_hm_lstm_are_found_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(x: Tensor, states: Sequence[HMState], hierarchy: Hierarchy) -> HMOutput:
        result = reference(x, states, hierarchy)
        h, c, z = result.state
        return {
            "the output of layer 1": result._replace(outputs=(result.outputs[0], 1.0001 * result.outputs[1])),
            "h_n of layer 0": result._replace(state=((1.0001 * h[0], h[1]), c, z)),
            "c_n of layer 1": result._replace(state=(h, (c[0], 1.0001 * c[1]), z)),
            "z̃": result._replace(probabilities=1.0001 * result.probabilities),
            "s": result._replace(sums=1.0001 * result.sums),
        }[name]

    monkeypatch.setitem(dispatch._HM_FUSED, "cpu", faulty)
    case = Case("HMLSTM", {"boundary_rates": [0.4]}, Shape(5, 6, batch=3, steps=7, layers=2), "fused")
    with at_hand.fused(), pytest.raises(RunError, match=f": {name}( in evaluation)? is off by 1.0e-04"):
        require_parity(case)


def test_a_sound_kernel_is_not_refused() -> None:
    with at_hand.fused():
        require_parity(Case("LSTM", ZONEOUT, SHAPE, "fused"))


def test_where_rounding_errors_grow_more_is_allowed() -> None:
    plain = measure_deviation(Case("LSTM", {}, Shape(64, 64, batch=8, steps=32), "reference"))
    normed = measure_deviation(Case("LSTM", {"norm": "layer"}, Shape(64, 64, batch=8, steps=32), "reference"))
    assert normed.met
    assert normed.error > 1e-6 > plain.error


def test_nothing_of_the_surroundings_changes() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    measure_deviation(Case("LSTM", ZONEOUT, SHAPE))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_off_for_a_while(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    with without_tf32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 is allowed


def test_requests_that_no_layer_can_serve() -> None:
    with pytest.raises(RequestError, match="GRU has no option `zoneout_cell`"):
        Case("GRU", {"zoneout_cell": 0.5}, SHAPE).ours()
    with pytest.raises(RequestError, match="cannot serve norm='layer'"):
        Case("LSTM", {"norm": "layer"}, SHAPE, "cudnn").ours()
