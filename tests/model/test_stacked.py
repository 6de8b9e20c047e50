"""Stacks from a recipe: what is built, what is refused, state that is carried, training that learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import lsseq.nn as lnn
from lsseq.data.batches import Batch, training_windows
from lsseq.model.factory import build_model
from lsseq.nn.state import detach_state, flatten_state, unflatten_state
from lsseq.recipe import KeyFault
from lsseq.recipe.schema import Model, Training

RANDOM = {"mean": 2, "most": 4}
BATCH_NORM: dict[str, Any] = {"norm": "batch", "norm_steps": 10}
STACKS: dict[str, dict[str, Any]] = {
    "residual": {"layers": 3, "stack": "residual"},
    "stochastic depth": {
        "layers": 3,
        "stack": {"kind": "residual", "stochastic_depth": {"over": "batch", "state": "freeze", "min_alive": 1}},
    },
    "swapout": {"layers": 3, "stack": {"kind": "residual", "swapout": {"input": 0.9, "branch": 0.8}}},
    "tied": {"layers": 2, "stack": {"kind": "tied", "steps": 4, "difference_rank": 2, "injection": "learned"}},
    "tied, random": {"stack": {"kind": "tied", "steps": 3, "random_steps": RANDOM, "state": "freeze"}},
    "deep transition": {"layers": 2, "stack": {"kind": "deep-transition", "steps": 2, "random_steps": RANDOM}},
    "fractal": {"layers": 2, "stack": {"kind": "fractal", "columns": 2, "sharing": "column", "drop_path": {}}},
    "fast-slow": {"stack": {"kind": "fast-slow", "fast": 3, "slow": 8}},
    "batch norm": {"recurrence": "lstm", "layers": 2, **BATCH_NORM},
    "batch norm, stochastic depth": {
        "recurrence": "lstm",
        "layers": 3,
        "stack": {"kind": "residual", "stochastic_depth": {"over": "batch", "state": "freeze", "survival": 0.8}},
        **BATCH_NORM,
    },
    "rhn": {"recurrence": "rhn", "layers": 2, "rhn": {"depth": 3}},
    "mogrifier": {"recurrence": "mogrifier-lstm", "layers": 2, "mogrifier": {"rounds": 3, "rank": 2}},
    "rhn, random": {"recurrence": "rhn", "rhn": {"depth": 2, "tied": True, "random_steps": RANDOM}},
}


def model_of(**keys: Any) -> Model:
    return Model.model_validate({"hidden": 12, "embedding": 5, **keys})


def built(name: str, **keys: Any) -> Any:
    torch.manual_seed(0)
    return build_model(model_of(**{**STACKS[name], **keys}), 7)


@pytest.mark.parametrize("recurrence", ["lstm", "gru", "rnn", "rhn"])
@pytest.mark.parametrize("name", [name for name, keys in STACKS.items() if "recurrence" not in keys])
def test_every_stack_of_every_recurrence(name: str, recurrence: str) -> None:
    keys: dict[str, Any] = {"layers": 1} if (name, recurrence) == ("deep transition", "rhn") else {}
    keys |= {"dropout": {"hidden": 0.1}, "zoneout": {"hidden": 0.1}, "norm": "layer", "rank": 3}
    model = built(name, recurrence=recurrence, **keys)
    tokens = torch.randint(0, 7, (6, 2))
    features, state, extras = model.features(tokens)
    assert (features.shape, extras) == ((6, 2, 12), {})
    restored = unflatten_state(flatten_state(detach_state(state)))
    model.eval()
    torch.testing.assert_close(model.features(tokens, restored)[0], model.features(tokens, state)[0])
    names = [name for name, _ in model.named_parameters()]
    assert any(name.endswith("_left") for name in names)
    assert any("norm_hh" in name for name in names)


@pytest.mark.parametrize("name", list(STACKS))
def test_every_stack_learns(name: str) -> None:
    model = built(name, hidden=16)
    tokens = np.tile(np.array([0, 1, 2, 3, 4, 1], np.uint8), 203)
    windows = training_windows(tokens, Training(steps=1, batch=4, bptt=10), 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    state, losses = None, []
    for _ in range(40):
        window = windows.next()
        output = model(window.batch, None if window.fresh else detach_state(state))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        state = output.state
        losses.append(output.nll.item())
    assert min(losses[-5:]) < 0.4 * losses[0]  # noise may spoil a single window


@pytest.mark.parametrize("name", list(STACKS))
def test_evaluation_does_not_depend_on_the_window(name: str) -> None:
    model = built(name).double().eval()
    tokens = torch.randint(0, 7, (9, 2))
    whole = model.score(Batch(tokens[:-1], tokens[1:])).nll
    first = model.score(Batch(tokens[:3], tokens[1:4]))
    second = model.score(Batch(tokens[3:-1], tokens[4:]), first.state)
    torch.testing.assert_close(torch.cat([first.nll, second.nll]), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", list(STACKS))
def test_the_initial_state_can_be_learned(name: str) -> None:
    model = built(name, learned_initial_state=True)
    assert model.initial_state is not None
    tokens = torch.randint(0, 7, (5, 3))
    model.eval()
    model.features(tokens)[0].sum().backward()
    assert any(value.grad is not None and value.grad.any() for value in model.initial_state.parameters())


def test_what_is_built() -> None:
    def stack(name: str, **keys: Any) -> Any:
        return built(name, **keys).recurrence.stack

    residual = stack("stochastic depth", zoneout={"cell": 0.3}, dropout={"hidden": 0.2})
    assert [layer.zoneout_cell for layer in residual.layers] == [0.3] * 3
    assert residual.noise == lnn.StochasticDepth(0.5, over="batch", state="freeze", min_alive=1)
    assert residual.dropout.p == 0.2
    assert stack("swapout").noise == lnn.Swapout(0.9, 0.8)
    tied = stack("tied, random")
    assert (tied.steps, tied.random_steps, tied.state) == (3, lnn.RandomSteps(2, 4), "freeze")
    assert (len(tied.cells), tied.depth) == (1, 4)
    assert stack("tied").alphas is not None
    deep = built("deep transition").recurrence.rnn
    assert (deep.steps, deep.injection, deep.cell.num_layers) == (2, "every", 2)
    fractal = stack("fractal")
    assert (fractal.columns, fractal.blocks, fractal.sharing, fractal.drop_path) == (2, 2, "column", lnn.DropPath())
    rhn = built("rhn, random", dropout={"state": 0.2, "recurrent": 0.1}).recurrence.rnn
    assert (rhn.tied, rhn.steps, rhn.state_dropout, rhn.recurrent_dropout) == (True, 2, 0.2, 0.1)
    for name in ("tied", "deep transition", "rhn, random"):
        lnn.set_steps(built(name), 6)


def test_the_identity_path_starts_at_the_embedding_where_the_width_is_the_same() -> None:
    assert not list(built("residual", embedding=12).recurrence.project.parameters())
    assert built("residual").recurrence.project.weight.shape == (12, 5)
    assert built("residual", embedding="one-hot").recurrence.project.weight.shape == (12, 7)


def test_biases_of_highway_gates_start_low_whatever_the_weights() -> None:
    for weights in ("torch", "uniform", "orthogonal", "glorot"):
        model = built("rhn", initialisation={"weights": weights, "range": 0.05})
        for layer in model.recurrence.layers:
            assert (layer.rnn.bias_d1[12:] == -2).all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"stack": {"columns": 2}}, "`columns` is for the kind `fractal` (got `plain`)"),
        ({"stack": {"kind": "tied", "swapout": {}}}, "`swapout` is for the kind `residual` (got `tied`)"),
        ({"stack": {"kind": "residual", "steps": 2}}, "is for the kind `tied` and `deep-transition` (got `residual`)"),
        (
            {"stack": {"kind": "residual", "swapout": {}, "stochastic_depth": {}}},
            "model.stack.swapout and model.stack.stochastic_depth exclude each other",
        ),
        (
            {"stack": {"kind": "residual", "stochastic_depth": {"min_alive": 2}}},
            "model.stack.stochastic_depth.min_alive (2) is above the number of layers (1)",
        ),
        ({"layers": 5, "stack": "tied"}, "model.stack.steps (4) is less than the cells, layers (5)"),
        ({"layers": 2, "stack": {"kind": "tied", "pattern": "middle"}}, "needs 3 layers or more (got 2)"),
        ({"stack": {"kind": "deep-transition", "injection": "learned"}}, "is `none` or `added` in a `deep-transition`"),
        ({"stack": {"kind": "tied", "random_steps": {"mean": 9}}}, "(9) is above the largest number (8)"),
        ({"recurrence": "rhn", "rhn": {"random_steps": {}}}, "model.rhn.random_steps needs model.rhn.tied"),
        ({"norm": "batch"}, "model.norm_steps belongs to model.norm `batch`, which needs it"),
        ({"norm_steps": 5}, "model.norm_steps belongs to model.norm `batch`, which needs it"),
        (
            {**BATCH_NORM, "stack": {"kind": "residual", "stochastic_depth": {"state": "freeze"}}},
            "needs model.stack.stochastic_depth.state `output`, or model.stack.stochastic_depth.over `batch`: rows of",
        ),
        (
            {**BATCH_NORM, "stack": {"kind": "residual", "stochastic_depth": {"state": "reset", "over": "step"}}},
            "needs model.stack.stochastic_depth.state `output`",
        ),
        (
            {**BATCH_NORM, "stack": {"kind": "fractal", "drop_path": {"state": "freeze"}}},
            "needs model.stack.drop_path.state `output`, or model.stack.drop_path.over `batch`: rows of a batch must",
        ),
        ({"layers": 2, "stack": "fast-slow"}, "model.layers of a `fast-slow` stack is 1"),
        ({"hidden": [3, 4], "layers": 2, "stack": "residual"}, "`residual` stack have one size"),
    ],
)
def test_rules_of_the_recipe(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model_of(**keys)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        (
            {"recurrence": "hm-lstm", "stack": "residual"},
            "stack.kind",
            "the recurrence `hm-lstm` is no layer of a `residual` stack",
        ),
        ({"dropout": {"state": 0.1}}, "dropout.state", "the recurrence `lstm` has no `dropout.state`"),
        ({"recurrence": "gru", "norm": "batch", "norm_steps": 5}, "norm", "the recurrence `gru` has no `norm: batch`"),
        ({"norm": "batch", "norm_steps": 5, "recompute": True}, "recompute", "model.recompute would take the"),
        ({"mogrifier": {"rounds": 2}}, "mogrifier.rounds", "the recurrence `lstm` has no `mogrifier.rounds`"),
        (
            {"recurrence": "mogrifier-lstm", "mogrifier": {"rank": 6}},
            "mogrifier.rank",
            "model.mogrifier.rank (6) is more than",
        ),
        ({"recurrence": "gru", "rhn": {"depth": 2}}, "rhn.depth", "the recurrence `gru` has no `rhn.depth`"),
        ({"recurrence": "rhn", "dropout": {"weight": 0.1}}, "dropout.weight", "the recurrence `rhn` has no"),
        ({"recurrence": "rhn", "backend": "cudnn"}, "backend", "backend should be one of 'auto', 'fused', 'reference'"),
    ],
)
def test_refusals(keys: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(KeyFault) as caught:
        build_model(model_of(**keys), 7)
    assert caught.value.key == f"model.{key}"
    assert caught.value.message.startswith(message)
