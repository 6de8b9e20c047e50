"""What a model costs, against what PyTorch counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import tiny_model
from torch.utils.flop_counter import FlopCounterMode

from lsseq.data.tasks import Form
from lsseq.model.cost import cost, cost_on_text
from lsseq.model.factory import build_answering
from lsseq.recipe.schema import Model

V, H, E = 7, 6, 4
LOW_RANK = {"rank": 2}
TIED = {"rank": 2, "tied_rank": True}

MODELS: list[dict[str, Any]] = [
    *({"recurrence": name, **rank} for name in ("lstm", "gru", "rnn") for rank in ({}, LOW_RANK, TIED)),
    *({"recurrence": "gru", "reset": "before", **rank} for rank in ({}, LOW_RANK, TIED)),
    {"layers": 2, "norm": "layer", "zoneout": {"cell": 0.5, "hidden": 0.1}},
    {"layers": 2, "hidden": [5, 6], "rank": 3},
    {"embedding": "one-hot"},
    {"embedding": 6, "tied": True, "learned_initial_state": True},
    {"recurrence": "hm-lstm", "layers": 3, "hidden": [3, 5, 4]},
    {"recurrence": "hm-lstm", "layers": 2, "hierarchy": {"output_gates": False, "output_size": 3, "top_down": False}},
    {"recurrence": "hm-lstm", "layers": 1, "norm": "layer"},
    *({"recurrence": "hm-lstm", "layers": 2, **rank} for rank in (LOW_RANK, TIED)),
    {"recurrence": "gru", "reset": "before", "layers": 2, "input_rank": 3, **TIED},
    *({"recurrence": "rhn", "rhn": {"depth": 3, "tied": tied}, "layers": 2, **TIED} for tied in (False, True)),
    *({"recurrence": "mogrifier-lstm", "mogrifier": {"rounds": 3, **rank}} for rank in ({}, LOW_RANK)),
    {"layers": 3, "stack": {"kind": "residual"}},
    {"layers": 2, "stack": {"kind": "tied", "steps": 5}},
    {"recurrence": "gru", "embedding": H, "stack": {"kind": "fractal", "columns": 3, "sharing": "column"}},
    {"layers": 2, "stack": {"kind": "deep-transition", "steps": 3}},
    {"stack": {"kind": "fast-slow", "fast": 3, "slow": 8}},
    {"norm": "batch", "norm_steps": 4},
]


@pytest.mark.parametrize("keys", MODELS, ids=str)
def test_operations_are_those_that_pytorch_counts_in_the_reference(keys: dict[str, Any]) -> None:
    model = tiny_model(V, backend="reference", **keys)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.logits(torch.randint(V, (3, 2)))
    assert cost(model)["flops_per_token"] * 3 * 2 == counter.get_total_flops()


@pytest.mark.parametrize("form", [Form(V, symbols=True, classes=("a", "b")), Form(2, symbols=False, classes=None)])
def test_models_that_answer(form: Form) -> None:
    keys = Model.model_validate({"hidden": H, "embedding": E, "rank": 2, "input_rank": 2, "backend": "reference"})
    model = build_answering(keys, form).eval()
    inputs = torch.randint(V, (3, 2)) if form.symbols else torch.rand(3, 2, 2)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.output(model.features(inputs)[0])
    assert cost(model)["flops_per_token"] * 3 * 2 == counter.get_total_flops()


def test_an_adaptive_softmax_costs_what_the_targets_demand() -> None:
    model = tiny_model(50, hidden=16, adaptive_softmax=[10, 30])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.output.logits(torch.randn(5, 16, dtype=torch.float64))
    assert model.output.flops() * 5 == counter.get_total_flops()
    targets = np.array([1, 2, 12, 13, 29, 40, 3, 4], dtype=np.uint8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.output.each_nll(torch.randn(8, 16, dtype=torch.float64), torch.from_numpy(targets).long())
    demanded = model.recurrence.flops() + counter.get_total_flops() / 8
    assert cost_on_text(model, {}, targets) == {"flops_per_token_measured": round(demanded)}


@pytest.mark.parametrize(("gates", "keys"), [(4, {}), (3, {"recurrence": "gru"}), (1, {"recurrence": "rnn"})])
def test_a_diagonal_costs_two_operations_an_entry(gates: int, keys: dict[str, Any]) -> None:
    plain, diagonal = (cost(tiny_model(V, rank=2, diagonal=value, **keys)) for value in (False, True))
    assert diagonal["flops_per_token"] - plain["flops_per_token"] == 2 * gates * H
    assert diagonal["parameters"] - plain["parameters"] == gates * H


@pytest.mark.parametrize(
    ("size", "keys"),
    [
        (2 * H, {}),
        (3 * H, {"recurrence": "gru", "layers": 3, "learned_initial_state": True}),
        (H, {"recurrence": "rnn", "rank": 2}),
        (2 * (5 + 6), {"layers": 2, "hidden": [5, 6]}),
        (3 * (2 * H + 1), {"recurrence": "hm-lstm", "layers": 3}),
    ],
)
def test_the_state_is_what_is_carried(size: int, keys: dict[str, Any]) -> None:
    assert cost(tiny_model(V, **keys))["state_size"] == size


def test_copying_costs_nothing() -> None:
    """The products of a layer with no boundary below it, and those with a state that did not change, are saved."""
    model = tiny_model(V, recurrence="hm-lstm", layers=2)
    below, own, top = E, H, H
    gates, output = 4 * H, 2 * (2 * 2 * H + H * 2 * H) + 2 * V * H
    told = {"boundaries": torch.tensor([0.25]), "updates": torch.tensor([1.0, 0.25])}
    first = 2 * (gates + 1) * (below + own + 0.25 * top)
    second = 2 * gates * 0.25 * (H + H)
    assert cost_on_text(model, told, np.zeros(1)) == {"flops_per_token_measured": round(first + second + output)}
    told = {"boundaries": torch.ones(1), "updates": torch.ones(2)}
    assert cost_on_text(model, told, np.zeros(1)) == {}


def test_soft_boundaries_save_nothing() -> None:
    model = tiny_model(V, recurrence="hm-lstm", layers=2, boundary={"detector": "soft"})
    told = {"boundaries": torch.tensor([0.25]), "updates": torch.tensor([1.0, 0.5])}
    assert cost_on_text(model, told, np.zeros(1)) == {}
