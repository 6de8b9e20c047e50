"""Ensembles against their definitions: draws one by one, means of whole distributions, several models."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import tiny_model
from torch import Tensor

from lsseq.data import Split
from lsseq.data.vocabulary import CharVocabulary
from lsseq.errors import RequestError
from lsseq.evaluation import draws, mixture
from lsseq.evaluation.draws import Drawn, draw, noisy
from lsseq.evaluation.ensemble import sampled, together
from lsseq.evaluation.evaluate import evaluate
from lsseq.evaluation.mixture import MixtureReader, mix
from lsseq.evaluation.reading import Tokenwise
from lsseq.model.language_model import LanguageModel
from lsseq.nn.random import by_row, first_row, part
from lsseq.nn.stacks.depth import DepthGate
from lsseq.recipe.schema import Recipe

V, LENGTH, SEED = 7, 23, 5
VOCABULARY = CharVocabulary("\nabcdef")
RESIDUAL = {"layers": 3, "stack": {"kind": "residual"}}
OF_ROWS: dict[str, dict[str, Any]] = {
    "zoneout": {"zoneout": {"cell": 0.5, "hidden": 0.2}},
    "dropout": {"dropout": {"input": 0.3, "output": 0.4, "hidden": 0.2}, "layers": 2},
    "stochastic depth": {"layers": 3, "stack": {"kind": "residual", "stochastic_depth": {"survival": 0.4}}},
    "swapout": {"layers": 3, "stack": {"kind": "residual", "swapout": {}}},
    "words": {"dropout": {"embedding": 0.4}, "zoneout": {"cell": 0.3}},
    "depth of the batch": {
        "layers": 3,
        "stack": {"kind": "residual", "stochastic_depth": {"survival": 0.4, "over": "batch", "state": "freeze"}},
    },
    "drop-path": {"stack": {"kind": "fractal", "columns": 2, "drop_path": {}}},
    "drop-path of the batch": {
        "stack": {"kind": "fractal", "columns": 3, "drop_path": {"rate": 0.4, "over": "batch", "state": "freeze"}}
    },
}
OF_THE_CALL: dict[str, dict[str, Any]] = {
    "weights": {"dropout": {"weight": 0.4}},
    "steps": {"stack": {"kind": "deep-transition", "random_steps": {"mean": 2, "most": 3}}},
}
NOISE = OF_ROWS | OF_THE_CALL


def text(length: int = LENGTH) -> Split:
    tokens = np.random.default_rng(3).integers(V, size=length).astype(np.uint8)
    return Split(tokens, characters=length, bytes=length)


def recipe(**evaluation: Any) -> Recipe:
    return Recipe.model_validate(
        {"data": {"text": "none"}, "training": {"steps": 1}, "evaluation": {"window": 6, **evaluation}}
    )


def measure(model: LanguageModel, samples: int, *, seed: int = SEED, **evaluation: Any) -> dict[str, Any]:
    return sampled(model, text(), VOCABULARY, recipe(**evaluation), samples=samples, seed=seed)


def distributions(model: LanguageModel, key: int, row: int) -> Tensor:
    """Log-probabilities (T, V) of the whole text at once under one draw, which is read alone."""
    tokens = torch.from_numpy(text().tokens.astype(np.int64))
    before = torch.cat([torch.tensor([0]), tokens[:-1]]).unsqueeze(1)
    with torch.no_grad(), part(key, 0), by_row(), first_row(row), noisy(model):
        logits, _ = model.logits(before)
    return logits[:, 0].log_softmax(1)


def each_draw(model: LanguageModel, samples: int, of_rows: bool) -> Tensor:
    """The same of so many draws, (K, T, V), one after the other."""
    seeds = [SEED] if of_rows else np.random.default_rng(SEED).integers(2**63, size=samples).tolist()
    keys = [int(np.random.default_rng(seed).integers(2**63)) for seed in seeds]
    if of_rows:
        return torch.stack([distributions(model, keys[0], k) for k in range(samples)])
    return torch.stack([distributions(model, key, 0) for key in keys])


@pytest.mark.parametrize("name", list(NOISE))
def test_draws_read_one_by_one_give_the_same(name: str) -> None:
    model = tiny_model(V, **NOISE[name])
    values = measure(model, 3)
    log_p = each_draw(model, 3, name in OF_ROWS)
    targets = torch.from_numpy(text().tokens.astype(np.int64))
    own = log_p[:, torch.arange(LENGTH), targets]
    for count in (1, 2, 3):
        expected = -(own[:count].logsumexp(0) - np.log(count)).mean()
        assert values["curve"][str(count)] == pytest.approx(float(expected), rel=1e-12)
    assert values["nll"] == pytest.approx(values["curve"]["3"], rel=1e-12)
    each = -own.mean(1)
    assert values["single"]["nll"] == pytest.approx(float(each.mean()), rel=1e-12)
    assert values["single"]["sd"] == pytest.approx(float(each.std()), rel=1e-9)
    assert len(set(each.tolist())) > 1  # of few sub-networks some draws may be the same
    p = log_p.exp()
    mean = p.mean(0)
    entropy = -(mean * mean.log()).sum(1)
    assert values["disagreement"] == pytest.approx(float((entropy + (p * log_p).sum(2).mean(0)).mean()), rel=1e-9)
    geometric = log_p.mean(0).log_softmax(1)[torch.arange(LENGTH), targets]
    assert values["geometric"]["nll"] == pytest.approx(float(-geometric.mean()), rel=1e-12)
    assert values["deterministic"]["nll"] == evaluate(model, text(), VOCABULARY, recipe())["nll"]
    assert values["nll"] < values["single"]["nll"]
    assert not model.training


@pytest.mark.parametrize("name", ["zoneout", "dropout", "weights", "depth of the batch"])
def test_windows_and_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(V, **NOISE[name])
    whole = measure(model, 2, window=200)
    monkeypatch.setattr(mixture, "FEW_LOGITS", 5 * 2 * V)
    monkeypatch.setattr(mixture, "IN_CACHE", 3 * 2 * V)
    parts = measure(model, 2, window=5)
    for key in ("nll", "disagreement"):
        assert parts[key] == pytest.approx(whole[key], rel=1e-12)


def test_the_first_draws_are_those_of_fewer() -> None:
    for name in ("zoneout", "weights"):
        model = tiny_model(V, **NOISE[name])
        two, four = measure(model, 2), measure(model, 4)
        assert list(four["curve"]) == ["1", "2", "3", "4"]
        assert [four["curve"][k] for k in "12"] == pytest.approx([two["curve"][k] for k in "12"], rel=1e-12)
        assert measure(model, 2)["curve"] == two["curve"]
        assert measure(model, 2, seed=SEED + 1)["nll"] != two["nll"]


def test_one_draw() -> None:
    one = measure(tiny_model(V, **NOISE["zoneout"]), 1)
    assert one["single"]["nll"] == pytest.approx(one["nll"], rel=1e-12)
    assert one["geometric"]["nll"] == pytest.approx(one["nll"], rel=1e-12)
    assert one["single"]["sd"] is None
    assert one["disagreement"] == pytest.approx(0, abs=1e-12)


def test_noise_that_never_strikes_changes_nothing() -> None:
    model = tiny_model(V, dropout={"output": 1e-9}, zoneout={"cell": 1e-9})
    values = measure(model, 3)
    assert values["nll"] == pytest.approx(values["deterministic"]["nll"], rel=1e-7)
    assert values["single"]["sd"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("keys", [{}, {"zoneout": {"cell": 0.0}}, RESIDUAL], ids=str)
def test_models_without_noise_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="the model has no noise"):
        draw(tiny_model(V, **keys), 2, 0, "cpu")


def test_rows_are_batched_where_they_can_be() -> None:
    assert {name: len(draw(tiny_model(V, **keys), 3, 0, "cpu")) for name, keys in NOISE.items()} == {
        **dict.fromkeys(OF_ROWS, 1),
        **dict.fromkeys(OF_THE_CALL, 3),
    }


@pytest.mark.parametrize("name", ["words", "depth of the batch", "drop-path", "drop-path of the batch"])
def test_what_a_call_of_training_shares_is_drawn_for_each_row(name: str) -> None:
    model, tokens = tiny_model(V, **NOISE[name]), torch.randint(V, (9, 1))
    for seed in range(6):
        with torch.no_grad(), part(seed, 0), noisy(model):
            of_the_call, _ = model.logits(tokens)
        with torch.no_grad(), part(seed, 0), by_row(), noisy(model):
            rows, _ = model.logits(tokens.repeat(1, 20))
        torch.testing.assert_close(rows[:, :1], of_the_call, rtol=1e-12, atol=1e-12)
        assert len(rows[-1].unique(dim=0)) > 1


def test_streams_and_pieces_are_masked_as_elsewhere() -> None:
    model = tiny_model(V, dropout={"output": 1e-9})
    for evaluation in ({"streams": 3}, {"pieces": 4}):
        values = measure(model, 2, **evaluation)
        assert values["nll"] == pytest.approx(values["deterministic"]["nll"], rel=1e-7)
    tokenwise = Tokenwise()
    values = sampled(model, text(), VOCABULARY, recipe(streams=3), samples=2, seed=0, keep=tokenwise)
    assert tokenwise.nll().mean() == pytest.approx(values["nll"], rel=1e-12)


def test_pieces_have_masks_of_their_own() -> None:
    member = Drawn(tiny_model(V, zoneout={"cell": 0.5}), 2, SEED)
    batch = next(iter(draws_windows())).batch
    with torch.no_grad():
        first, second = member.features(batch, True), member.features(batch, True)
    assert not torch.equal(first, second)


def draws_windows() -> Any:
    from lsseq.data.batches import evaluation_windows

    return evaluation_windows(text().tokens, None, streams=1, window=12)


def test_several_models() -> None:
    models = [tiny_model(V, seed=seed, hidden=hidden) for seed, hidden in ((0, 6), (1, 9))]
    values = together(models, text(), VOCABULARY, recipe())
    p = torch.stack([distributions(model, 0, 0) for model in models]).exp()
    targets = torch.from_numpy(text().tokens.astype(np.int64))
    expected = -p.mean(0)[torch.arange(LENGTH), targets].log().mean()
    assert values["nll"] == pytest.approx(float(expected), rel=1e-12)
    for run, model in zip(values["runs"], models, strict=True):
        alone = evaluate(model, text(), VOCABULARY, recipe())
        assert run["nll"] == pytest.approx(alone["nll"], rel=1e-12)
        assert run["parameters"] == alone["parameters"]
    assert values["mode"] == "ensemble"
    assert values["parameters"] == sum(run["parameters"] for run in values["runs"])


class Fixed:
    """Sub-network `kept` of a residual stack, in the place of its coins."""

    random = False

    def __init__(self, kept: tuple[bool, ...], rates: list[float]) -> None:
        self.kept, self.rates = kept, rates

    def gates(self, *_: object) -> list[DepthGate]:
        return [DepthGate(alive, 1 / rate, "output") for alive, rate in zip(self.kept, self.rates, strict=True)]


def test_many_draws_give_the_mean_over_all_sub_networks() -> None:
    depth = {"survival": 0.5, "schedule": "constant"}
    model = tiny_model(V, layers=2, stack={"kind": "residual", "stochastic_depth": depth})
    K, targets = 4000, torch.from_numpy(text().tokens.astype(np.int64))
    each = Tokenwise()
    sampled(model, text(), VOCABULARY, recipe(), samples=K, seed=SEED, keep=each)
    stack = model.recurrence.stack
    found = []
    for kept in product((False, True), repeat=2):
        stack.noise = Fixed(kept, [0.5, 0.5])
        found.append(distributions(model, 0, 0)[torch.arange(LENGTH), targets].exp())
    p = torch.stack(found)  # of 4 sub-networks, each with probability 1/4
    error = torch.from_numpy(each.nll()).neg().exp() - p.mean(0)
    assert (error.abs() < 5 * p.std(0, correction=0) / K**0.5 + 1e-12).all()
    assert (p.std(0) > 1e-3).all()


def test_a_mean_with_weights() -> None:
    log_p = torch.randn(3, 4, V, dtype=torch.float64).log_softmax(2)
    weights, targets = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0, 6, 2, 2])
    mixed = mix(log_p + 30 * torch.randn(3, 4, 1, dtype=torch.float64), targets, weights)  # logits may be shifted
    mean = (weights.view(-1, 1, 1) * log_p.exp()).sum(0)
    torch.testing.assert_close(mixed.nll, -mean[torch.arange(4), targets].log())
    entropies = -(log_p.exp() * log_p).sum(2)
    expected = -(mean * mean.log()).sum(1) - (weights.unsqueeze(1) * entropies).sum(0)
    torch.testing.assert_close(mixed.disagreement, expected)
    assert (mixed.disagreement > 0).all()


def test_probabilities_are_never_all_held(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(V, **NOISE["zoneout"])
    shapes = []

    def spy(logits: Tensor, targets: Tensor, weights: Tensor) -> mixture.Mixed:
        shapes.append(logits.numel())
        return mix(logits, targets, weights)

    monkeypatch.setattr(mixture, "mix", spy)
    monkeypatch.setattr(mixture, "FEW_LOGITS", 4 * 3 * V)
    reader = MixtureReader(draws.draw(model, 3, 0, "cpu"), "samples")
    with torch.no_grad():
        reader.read(next(iter(draws_windows())).batch, True)
    assert max(shapes) == 4 * 3 * V
    assert len(shapes) == 3


def test_noise_leaves_the_statistics_of_batch_norm_alone() -> None:
    model = tiny_model(V, norm="batch", norm_steps=4, zoneout={"cell": 0.5, "hidden": 0.2})
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert before
    tokens = torch.randint(V, (4, 1))
    with noisy(model), part(SEED, 0):
        drawn, _, _ = model.features(tokens)
    plain, _, _ = model.features(tokens)
    assert not torch.equal(drawn, plain)
    for name, value in model.named_buffers():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
