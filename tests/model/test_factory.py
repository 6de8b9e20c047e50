"""From a recipe to a module: sizes, initialisations, refusals, and recurrences found by their file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lsseq.nn as lnn
from lsseq.data.batches import Batch, training_windows
from lsseq.errors import render
from lsseq.model import recurrences
from lsseq.model.factory import build_model
from lsseq.nn.state import detach_state, flatten_state
from lsseq.recipe import KeyFault, schema
from lsseq.recipe.schema import Model, Training


def model_of(**keys: Any) -> Model:
    return Model.model_validate(keys)


def count(model: Model, vocabulary_size: int) -> int:
    with torch.device("meta"):
        built = build_model(model, vocabulary_size)
    assert all(parameter.is_meta for parameter in built.parameters())
    return sum(parameter.numel() for parameter in built.parameters())


def test_parameters_of_the_zoneout_papers_character_model() -> None:
    """One layer of 1000 over 50 one-hot characters (Krueger et al. 2017): 4,204,000 and 50,050 with one bias a gate,
    2,000 more for the learned state; the second bias of torch.nn adds 4,000."""
    keys: dict[str, Any] = {"hidden": 1000, "embedding": "one-hot", "zoneout": {"cell": 0.5, "hidden": 0.05}}
    assert count(model_of(**keys), 50) == 4_204_000 + 50_050 + 4_000
    assert count(model_of(**keys, learned_initial_state=True), 50) == 4_256_050 + 4_000


def test_parameters_of_zarembas_large_model() -> None:
    """Two layers of 1500 over 10,000 words: 66 million (Zaremba et al. 2014)."""
    assert round(count(model_of(hidden=1500, layers=2, embedding=1500), 10_000), -6) == 66_000_000


def test_parameters_of_awd_lstm() -> None:
    """Three layers of 1150, 1150 and 400, tied: 24 million (Merity et al. 2018, table 1)."""
    model = model_of(hidden=[1150, 1150, 400], layers=3, embedding=400, tied=True, dropout={"weight": 0.5})
    assert round(count(model, 10_000), -6) == 24_000_000


@pytest.mark.parametrize(
    ("keys", "recurrent"),
    [
        ({"rank": 24}, 4 * 2 * 128 * 24),
        ({"rank": 24, "diagonal": True}, 4 * (2 * 128 * 24 + 128)),
        ({"rank": 24, "tied_rank": True}, (4 + 1) * 128 * 24),
        ({"input_rank": 24}, 4 * 2 * 128 * 24),
        ({"recurrence": "hm-lstm", "rank": 24, "diagonal": True}, 4 * (2 * 128 * 24 + 128)),
    ],
    ids=str,
)
def test_parameters_of_low_rank(keys: dict[str, Any], recurrent: int) -> None:
    same = {name: value for name, value in keys.items() if name == "recurrence"}
    dense = count(model_of(hidden=128, embedding=128, **same), 11)
    assert dense - count(model_of(hidden=128, embedding=128, **keys), 11) == 4 * 128 * 128 - recurrent


def test_every_recurrence_on_meta() -> None:
    for name in schema.recurrence_names():
        for weights in ("torch", "uniform", "orthogonal", "glorot"):
            initialisation = {"weights": weights, "range": 0.1}
            assert count(model_of(recurrence=name, initialisation=initialisation), 11) > 0
            if name != "mogrifier-lstm":
                factors = {"rank": 3, "diagonal": True}
                assert count(model_of(recurrence=name, initialisation=initialisation, **factors), 11) > 0


def test_a_list_of_sizes_is_a_stack() -> None:
    model = build_model(model_of(hidden=[5, 7, 6], layers=3, embedding=4), 11)
    shapes = [tuple(layer.rnn.weight_hh_l0.shape) for layer in model.recurrence.layers]
    assert shapes == [(20, 5), (28, 7), (24, 6)]
    features, state, _ = model.features(torch.zeros(3, 2, dtype=torch.int64))
    assert features.shape == (3, 2, 6)
    assert [tuple(c.shape) for _, c in state] == [(1, 2, 5), (1, 2, 7), (1, 2, 6)]


def test_options_reach_the_recurrence() -> None:
    model = build_model(
        model_of(
            layers=2,
            zoneout={"cell": 0.5, "hidden": 0.05},
            norm="layer",
            dropout={"hidden": 0.1, "recurrent": 0.2, "weight": 0.3, "mask": "step"},
            backend="reference",
        ),
        11,
    )
    rnn = model.recurrence.rnn
    assert isinstance(rnn, lnn.LSTM)
    assert (rnn.zoneout_cell, rnn.zoneout_hidden, rnn.norm, rnn.backend) == (0.5, 0.05, "layer", "reference")
    assert (rnn.dropout, rnn.recurrent_dropout, rnn.weight_dropout, rnn.dropout_mask) == (0.1, 0.2, 0.3, "step")
    keys = {"hidden": [9, 8], "layers": 2, "rank": 3, "diagonal": True, "tied_rank": True}
    hm = build_model(model_of(recurrence="hm-lstm", **keys), 11).recurrence.hm
    assert (hm.rank, hm.diagonal, hm.tied_rank) == (3, True, True)
    factors = build_model(model_of(input_rank=4, **keys), 11)
    assert all(layer.rnn.input_rank == 4 for layer in factors.recurrence.layers)
    assert all(
        (layer.rnn.rank, layer.rnn.diagonal, layer.rnn.tied_rank) == (3, True, True)
        for layer in factors.recurrence.layers
    )
    gru = build_model(model_of(recurrence="gru", reset="before"), 11).recurrence.rnn
    assert (type(gru), gru.variant) == (lnn.GRU, "before")
    rnn = build_model(model_of(recurrence="rnn", activation="relu"), 11).recurrence.rnn
    assert (type(rnn), rnn.nonlinearity) == (lnn.RNN, "relu")


def test_initialisations() -> None:
    torch.manual_seed(0)
    orthogonal = build_model(model_of(initialisation={"weights": "orthogonal", "forget_bias": 1.0}, hidden=32), 11)
    rnn = orthogonal.recurrence.rnn
    for gate in rnn.weight_hh_l0.split(32):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(32), rtol=0, atol=1e-5)
    bias = (rnn.bias_ih_l0 + rnn.bias_hh_l0).view(4, 32)
    assert bias[1].eq(1).all()
    assert bias[[0, 2, 3]].eq(0).all()
    uniform = build_model(model_of(initialisation={"weights": "uniform", "range": 0.04}, layers=2), 500)
    for name, parameter in uniform.named_parameters():
        if name != "output.bias":
            assert 0.03 < parameter.abs().max() <= 0.04, name
    assert uniform.output.bias.eq(0).all()


def test_a_gru_that_starts_by_keeping_its_state() -> None:
    """As the code of Miceli Barone 2016 starts it: factors by Glorot, the carry gate's bias 5, other biases 0."""
    keys = {"recurrence": "gru", "hidden": 128, "rank": 24, "diagonal": True}
    gru = build_model(model_of(initialisation={"weights": "glorot", "carry_bias": 5.0}, **keys), 11).recurrence.rnn
    bias = (gru.bias_ih_l0 + gru.bias_hh_l0).view(3, 128)
    assert bias[1].eq(5).all()
    assert bias[[0, 2]].eq(0).all()
    limit = (6 / (128 + 24)) ** 0.5
    for name in ("weight_hh_l0_left", "weight_hh_l0_right"):
        assert 0.95 * limit < gru.get_parameter(name).abs().max() <= limit
    assert gru.weight_hh_l0_diag.abs().max() <= 0.01
    # A gate of σ(5) = 0.993 keeps the state almost whole.
    x, h = torch.zeros(1, 3, 128), torch.randn(1, 3, 128).clamp(-1, 1)
    assert (gru(x[..., : gru.input_size], h)[1] - h).abs().max() < 0.05


@pytest.mark.parametrize("weights", ["orthogonal", "glorot", "uniform"])
@pytest.mark.parametrize("tied", [False, True])
def test_initialisations_of_a_low_rank_hierarchy(weights: str, tied: bool) -> None:
    torch.manual_seed(0)
    keys = {"recurrence": "hm-lstm", "layers": 2, "hidden": [32, 24], "rank": 5, "diagonal": True, "tied_rank": tied}
    hm = build_model(model_of(initialisation={"weights": weights, "range": 0.3}, **keys), 11).recurrence.hm
    for k, H in enumerate(hm.hidden_size):
        left, right, diag = (hm.get_parameter(f"weight_hh_l{k}_{part}") for part in ("left", "right", "diag"))
        blocks = [*left.split(H), *(block.t() for block in right.split(5))]
        assert len(blocks) == (5 if tied else 8)
        limit = 0.3 if weights == "uniform" else (6 / (H + 5)) ** 0.5
        for block in blocks:
            if weights == "orthogonal":
                torch.testing.assert_close(block.t() @ block, torch.eye(5), rtol=0, atol=1e-5)
            else:
                assert 0.8 * limit < block.abs().max() <= limit
        assert (diag.abs().max() <= 0.01) == (weights != "uniform")


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"recurrence": "gru", "zoneout": {"cell": 0.5}}, "zoneout.cell", "the recurrence `gru` has no `zoneout.cell`"),
        ({"recurrence": "rnn", "zoneout": {"cell": 0.5}}, "zoneout.cell", "the recurrence `rnn` has no `zoneout.cell`"),
        ({"recurrence": "hm-lstm", "input_rank": 3}, "input_rank", "the recurrence `hm-lstm` has no `input_rank`"),
        (
            {"embedding": 4, "input_rank": 5},
            "input_rank",
            "model.input_rank (5) is more than what the first layer reads (4)",
        ),
        *(
            (
                {"recurrence": name, "initialisation": {"carry_bias": 4.0}},
                "initialisation.carry_bias",
                f"the recurrence `{name}` has no `initialisation.carry_bias`",
            )
            for name in ("lstm", "rnn", "hm-lstm")
        ),
        ({"recurrence": "lstm", "reset": "before"}, "reset", "the recurrence `lstm` has no `reset`"),
        ({"recurrence": "lstm", "activation": "relu"}, "activation", "the recurrence `lstm` has no `activation`"),
        (
            {"recurrence": "rnn", "dropout": {"recurrent": 0.1}},
            "dropout.recurrent",
            "the recurrence `rnn` has no `dropout.recurrent`",
        ),
        (
            {"recurrence": "gru", "initialisation": {"forget_bias": 1.0}},
            "initialisation.forget_bias",
            "the recurrence `gru` has no `initialisation.forget_bias`",
        ),
        (
            {"embedding": "one-hot", "dropout": {"embedding": 0.1}},
            "dropout.embedding",
            "one-hot input has no embedding to drop words from",
        ),
        (
            {"initialisation": {"weights": "uniform"}},
            "initialisation.range",
            "uniform weights need `model.initialisation.range`",
        ),
    ],
)
def test_refusals(keys: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(KeyFault) as caught:
        build_model(model_of(**keys), 11)
    assert (caught.value.key, caught.value.message, caught.value.exit_code) == (f"model.{key}", message, 2)


def test_a_back_end_that_cannot_serve_the_options_is_refused_with_the_reason() -> None:
    with pytest.raises(KeyFault) as caught:
        build_model(model_of(backend="cudnn", zoneout={"cell": 0.5}), 11)
    assert caught.value.key == "model.backend"
    assert "zoneout_cell=0.5" in render(caught.value)


TOY = '''
import torch
from torch import nn
from lsseq.model.recurrence import Recurrence

class Leaky(Recurrence):
    """s = a s + W x with a learned leak a."""

    def __init__(self, input_size, size):
        super().__init__()
        self.output_size = size
        self.input = nn.Linear(input_size, size)
        self.leak = nn.Parameter(torch.zeros(size))

    def forward(self, x, state=None):
        s = x.new_zeros(x.shape[1], self.output_size) if state is None else state["s"]
        outputs = []
        for u in self.input(x).unbind(0):
            s = torch.sigmoid(self.leak) * s + u
            outputs.append(s)
        return torch.stack(outputs), {"s": s}, {"leak": torch.sigmoid(self.leak)}

def build(model, input_size):
    return Leaky(input_size, model.hidden)
'''


@pytest.fixture
def toy_recurrence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of recurrences that holds one more file."""
    (tmp_path / "leaky_sum.py").write_text(TOY)
    monkeypatch.setattr(recurrences, "__path__", [*recurrences.__path__, str(tmp_path)])
    known = schema.recurrence_names()
    monkeypatch.setattr(schema.model, "recurrence_names", lambda: [*known, "leaky-sum"])
    yield
    sys.modules.pop("lsseq.model.recurrences.leaky_sum", None)


@pytest.mark.usefixtures("toy_recurrence")
def test_a_new_file_is_a_new_recurrence_that_trains() -> None:
    torch.manual_seed(0)
    model = build_model(model_of(recurrence="leaky-sum", hidden=16, embedding=8), 5)
    tokens = np.tile(np.array([0, 1, 2, 3, 4], np.uint8), 200)
    windows = training_windows(tokens, Training(steps=1, batch=4, bptt=10), 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    state, losses = None, []
    for _ in range(30):
        window = windows.next()
        output = model(window.batch, None if window.fresh else detach_state(state))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        state = output.state
        losses.append(output.nll.item())
        assert output.extras["leak"].shape == (16,)
    assert losses[-1] < 0.2 * losses[0]
    assert model.score(Batch(torch.tensor([[0]]), torch.tensor([[1]]))).nll.item() < 0.5


@pytest.mark.usefixtures("toy_recurrence")
def test_a_recurrence_that_does_not_tell_its_state_cannot_learn_it() -> None:
    with pytest.raises(KeyFault) as caught:
        build_model(model_of(recurrence="leaky-sum", learned_initial_state=True), 5)
    assert caught.value.key == "model.learned_initial_state"
    assert caught.value.message == "the recurrence `leaky-sum` cannot learn its initial state"


@pytest.mark.parametrize(
    "keys",
    [{}, {"hidden": [4, 5, 6], "layers": 3}, {"layers": 3, "stack": "residual"}, {"stack": "fast-slow"}],
    ids=str,
)
def test_the_steps_that_batch_norm_counts_are_not_learned(keys: dict[str, Any]) -> None:
    batch_norm = {"norm": "batch", "norm_steps": 4, "learned_initial_state": True}
    model = build_model(model_of(**{"hidden": 6, "embedding": 3, **keys, **batch_norm}), 5)
    assert model.initial_state is not None
    assert all(value.shape[-1] > 1 for value in model.initial_state.values)
    state = model.features(torch.zeros(3, 2, dtype=torch.int64))[1]
    counts = [part for part in flatten_state(state).values() if part.shape[-1] == 1]
    assert len(counts) == len(model.initial_state.values) // 2
    assert all((count >= 3).all() for count in counts)
    model.features(torch.zeros(3, 2, dtype=torch.int64))[0].sum().backward()
    assert all(value.grad is not None for value in model.initial_state.values)
