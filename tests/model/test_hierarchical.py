"""The HM-LSTM in a language model: output module, slope, priors, what it tells."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from lsseq.data.batches import Batch
from lsseq.model.factory import build_model, build_recurrence
from lsseq.model.hierarchical import Hierarchical, OutputModule, binomial_prior, ratio_prior
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Model, Slope

T, B, V = 12, 3, 7
F64 = torch.float64


def model_of(**keys: Any) -> Model:
    return Model.model_validate({"recurrence": "hm-lstm", "layers": 3, "hidden": 6, "embedding": 4, **keys})


def build(**keys: Any) -> Hierarchical:
    torch.manual_seed(0)
    recurrence = build_recurrence(model_of(**keys), 4)
    assert isinstance(recurrence, Hierarchical)
    return recurrence.double()


def inputs(seed: int = 1) -> Tensor:
    return torch.randn(T, B, 4, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gated", [True, False])
def test_output_module_is_equations_11_and_12(gated: bool) -> None:
    torch.manual_seed(0)
    module = OutputModule([2, 3], 4, gated=gated).double()
    h1, h2 = torch.randn(1, 1, 2, dtype=F64), torch.randn(1, 1, 3, dtype=F64)
    total = torch.zeros(4, dtype=F64)
    for l, (h, columns) in enumerate(((h1, slice(0, 2)), (h2, slice(2, 5)))):
        gate = 1.0
        if module.gates is not None:
            gate = 1 / (1 + math.exp(-float(module.gates[l].detach() @ torch.cat([h1, h2], -1).flatten())))
        total = total + gate * (module.weight[:, columns] @ h.flatten())
    torch.testing.assert_close(module([h1, h2]).flatten(), total.clamp(min=0), rtol=1e-12, atol=1e-14)
    assert (module.gates is None) != gated


def test_what_it_tells() -> None:
    recurrence = build()
    output, state, extras = recurrence(inputs())
    assert output.shape == (T, B, 6)
    assert extras["boundaries"].shape == extras["probabilities"].shape == (T, B, 2)
    torch.testing.assert_close(extras["boundary_rate"], extras["boundaries"].mean((0, 1)))
    assert not extras["boundaries"].requires_grad
    assert "updates" not in extras
    recurrence.eval()
    _, _, extras = recurrence(inputs(), state)
    assert isinstance(state, tuple)
    z = extras["boundaries"]
    before = torch.cat([torch.cat(state[2][:-1], dim=-1).unsqueeze(0), z[:-1]])  # type: ignore[index, arg-type]
    assert extras["updates"][..., 0].all()
    assert torch.equal(extras["updates"][..., 1], (z[..., 0] > 0) | (before[..., 1] > 0))
    assert torch.equal(extras["updates"][..., 2], z[..., 1] > 0)
    assert extras["norms"].shape == (T, B, 3)
    # A layer that does not compute keeps its state, and so its norm.
    still = ~extras["updates"][1:, :, 1:]
    assert torch.equal(extras["norms"][1:, :, 1:][still], extras["norms"][:-1, :, 1:][still])


def test_slope_follows_the_epochs_and_is_saved() -> None:
    recurrence = build(boundary={"slope": {"start": 1.0, "per_epoch": 0.04, "limit": 5.0}})
    assert recurrence.hm.slope == 1.0
    for epoch, slope in ((1, 1.04), (50, 3.0), (100, 5.0), (200, 5.0)):
        recurrence.at_epoch(epoch)
        assert recurrence.hm.slope == pytest.approx(slope)
    other = build(boundary={"slope": {"start": 1.0, "per_epoch": 0.04, "limit": 5.0}})
    other.load_state_dict(recurrence.state_dict())
    assert other.hm.slope == pytest.approx(5.0)
    assert build(boundary={"slope": 2.5}).hm.slope == 2.5
    assert Slope(start=1.0, per_epoch=0.0, limit=1.0).at(7) == 1.0


def test_binomial_prior() -> None:
    boundaries = (torch.rand(20, 4, 2, generator=torch.Generator().manual_seed(0)) < 0.3).to(F64)
    rates, weight = [0.25, 0.1], 2.0
    want = 0.0
    for layer, rate in enumerate(rates):
        for row in range(4):
            k = int(boundaries[:, row, layer].sum())
            want -= math.log(math.comb(20, k) * rate**k * (1 - rate) ** (20 - k)) / 20 / 4
    assert float(binomial_prior(rates, weight)(boundaries, boundaries)) == pytest.approx(weight * want, rel=1e-10)


def test_ratio_prior_is_least_at_its_rate() -> None:
    def value(rate: float) -> float:
        share = torch.full((10, 2, 1), rate, dtype=F64)
        return float(ratio_prior([0.25], 1.0)(share, share))

    assert value(0.25) == pytest.approx(1.0)
    assert all(value(rate) > 1.0 for rate in (0.05, 0.2, 0.3, 0.9))


@pytest.mark.parametrize("kind", ["binomial", "ratio"])
def test_a_prior_adds_to_the_loss_and_draws_the_rate(kind: str) -> None:
    torch.manual_seed(0)
    prior = {"kind": kind, "rate": 0.3, "weight": 3.0}
    model = build_model(model_of(boundary={"prior": prior}), V)
    with torch.no_grad():  # a dead detector: its hard sigmoid is 0 wherever it looks, and passes no gradient
        cast(Hierarchical, model.recurrence).hm.bias_l0[-1] = -3.0
    tokens = torch.randint(V, (T + 1, 16))
    batch = Batch(tokens[:-1], tokens[1:])
    output = model(batch)
    assert float(output.loss) != float(output.nll)
    assert "penalty" not in output.extras
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        output = model(batch)
        output.loss.backward()
        optimizer.step()
    assert (output.extras["boundary_rate"] - 0.3).abs().max() < 0.12
    model.eval()
    with torch.no_grad():
        assert "penalty" not in model.score(batch).extras


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"boundary": {"prior": {"kind": "ratio", "rate": [0.1]}}}, "model.boundary.prior.rate"),
        ({"boundary": {"detector": "soft", "gradient": "select"}}, "model.boundary.gradient"),
        ({"dropout": {"hidden": 0.1}}, "model.dropout.hidden"),
        ({"backend": "cudnn"}, "model.backend"),
        ({"initialisation": {"weights": "uniform"}}, "model.initialisation.range"),
    ],
)
def test_refusals(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(KeyFault) as caught:
        build(**keys)
    assert caught.value.key == key


def test_other_recurrences_refuse_its_keys() -> None:
    for keys in ({"boundary": {"nested": True}}, {"hierarchy": {"flush": False}}):
        with pytest.raises(KeyFault, match="has no"):
            build_recurrence(Model.model_validate(keys), 4)


@pytest.mark.parametrize("weights", ["orthogonal", "glorot", "uniform"])
def test_initialisation(weights: str) -> None:
    recurrence = build(initialisation={"weights": weights, "range": 0.01, "forget_bias": 1.0})
    weight = recurrence.hm.get_parameter("weight_hh_l1")
    if weights == "orthogonal":
        gate = weight[:6].detach()
        torch.testing.assert_close(gate @ gate.t(), torch.eye(6, dtype=F64), rtol=1e-6, atol=1e-6)
    elif weights == "uniform":
        assert weight.abs().max() <= 0.01
    assert recurrence.hm.get_parameter("bias_l1")[6:12].eq(1).all()
    assert not recurrence.hm.get_parameter("bias_l1")[:6].any()
