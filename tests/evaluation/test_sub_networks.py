"""All sub-networks of a model against each one read by itself, with probabilities by hand, and against many draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import tiny_model
from torch import Tensor

import lsseq.nn as lnn
from lsseq.data import Split
from lsseq.data.batches import Batch
from lsseq.data.vocabulary import CharVocabulary
from lsseq.errors import RequestError
from lsseq.evaluation.draws import noisy
from lsseq.evaluation.ensemble import exact, sampled
from lsseq.evaluation.evaluate import evaluate
from lsseq.evaluation.reading import Tokenwise
from lsseq.evaluation.sub_networks import sub_networks
from lsseq.model.language_model import LanguageModel
from lsseq.nn.random import part
from lsseq.nn.stacks.depth import DepthGate
from lsseq.recipe.schema import Recipe

V, LENGTH = 7, 23
VOCABULARY = CharVocabulary("\nabcdef")
TOKENS = np.random.default_rng(3).integers(V, size=LENGTH).astype(np.uint8)
TARGETS = torch.from_numpy(TOKENS.astype(np.int64))
TEXT = Split(TOKENS, characters=LENGTH, bytes=LENGTH)


def recipe(**evaluation: Any) -> Recipe:
    return Recipe.model_validate(
        {"data": {"text": "none"}, "training": {"steps": 1}, "evaluation": {"window": 6, **evaluation}}
    )


def residual(layers: int, **depth: Any) -> dict[str, Any]:
    return {"layers": layers, "stack": {"kind": "residual", "stochastic_depth": depth}}


def read(model: LanguageModel) -> Tensor:
    """Log-probabilities (T, V) of the whole text at once, with the noise of training."""
    before = torch.cat([torch.tensor([0]), TARGETS[:-1]]).unsqueeze(1)
    with torch.no_grad(), part(0, 0), noisy(model):
        return model.logits(before)[0][:, 0].log_softmax(1)


class Kept:
    """One set of layers of a residual stack, in the place of its coins."""

    def __init__(self, alive: tuple[bool, ...], scales: list[float], policy: Any) -> None:
        self.alive, self.scales, self.policy = alive, scales, policy

    def gates(self, *_: object) -> list[DepthGate]:
        return [DepthGate(alive, scale, self.policy) for alive, scale in zip(self.alive, self.scales, strict=True)]


def by_depth(model: LanguageModel, rates: list[float], least: int, policy: str) -> Iterator[tuple[float, Tensor]]:
    """Every set of layers: its probability, and the text under it."""
    sets: dict[tuple[bool, ...], float] = {}
    for coins in product((False, True), repeat=len(rates)):
        p = math.prod(rate if coin else 1 - rate for coin, rate in zip(coins, rates, strict=True))
        back = list(combinations([l for l, coin in enumerate(coins) if not coin], max(0, least - sum(coins))))
        for some in back:
            alive = tuple(coin or l in some for l, coin in enumerate(coins))
            sets[alive] = sets.get(alive, 0) + p / len(back)
    scales = [1 / sum(p for alive, p in sets.items() if alive[l]) for l in range(len(rates))]
    stack = model.recurrence.stack
    noise = stack.noise
    for alive, p in sets.items():
        stack.noise = Kept(alive, scales, policy)
        yield p, read(model)
    stack.noise = noise


class Paths:
    """One choice of columns of a fractal stack, in the place of its coins."""

    over, state = "batch", "output"

    def __init__(self, kept: tuple[tuple[bool, ...], ...]) -> None:
        self.kept = kept

    def choose(self, *_: object) -> list[Tensor]:
        return [torch.tensor(alive).view(-1, 1, 1, 1) for alive in self.kept]


def by_paths(model: LanguageModel, drop: float, share: float) -> Iterator[tuple[float, Tensor]]:
    """Every choice of two columns: one join a block, three ways each, or a column alone."""
    stack = model.recurrence.stack
    path, blocks = stack.drop_path, stack.blocks
    one = (1 - drop) * drop + drop**2 / 2
    of_join = {(True, True): (1 - drop) ** 2, (True, False): one, (False, True): one}
    for ways in product(of_join, repeat=blocks):
        p = (1 - share) * math.prod(of_join[way] for way in ways)
        if len(set(ways)) == 1 and ways[0] != (True, True):
            p += share / 2
        # Of a block the first layer of the long column stands alone.
        stack.drop_path = Paths(tuple(join for way in ways for join in ((True,), way)))
        yield p, read(model)
    stack.drop_path = path


def by_steps(model: LanguageModel, random: lnn.RandomSteps) -> Iterator[tuple[float, Tensor]]:
    """Every number of steps."""
    before = torch.cat([torch.tensor([0]), TARGETS[:-1]]).unsqueeze(1)
    for steps, p in enumerate(random.probabilities(), start=1):
        lnn.set_steps(model, steps)
        with torch.no_grad():
            yield p, model.logits(before)[0][:, 0].log_softmax(1)


STEPS = lnn.RandomSteps(2.5, 4)
RANDOM = {"random_steps": {"mean": 2.5, "most": 4}}
FRACTAL = {"layers": 2, "stack": {"kind": "fractal", "columns": 2, "drop_path": {"rate": 0.3, "global_share": 0.4}}}
MODELS: dict[str, tuple[dict[str, Any], Any, int]] = {
    "depth of a sequence": (residual(3, survival=0.4), lambda m: by_depth(m, [0.8, 0.6, 0.4], 0, "output"), 8),
    "depth of the batch": (
        residual(3, survival=0.5, schedule="constant", over="batch", state="freeze", min_alive=1),
        lambda m: by_depth(m, [0.5] * 3, 1, "freeze"),
        7,
    ),
    "depth that resets": (residual(2, survival=0.3, state="reset"), lambda m: by_depth(m, [0.65, 0.3], 0, "reset"), 4),
    "drop-path": (FRACTAL, lambda m: by_paths(m, 0.3, 0.4), 9),
    "tied": ({"stack": {"kind": "tied", "steps": 3, **RANDOM}}, lambda m: by_steps(m, STEPS), 4),
    "deep transition": ({"stack": {"kind": "deep-transition", **RANDOM}}, lambda m: by_steps(m, STEPS), 4),
    "rhn": ({"recurrence": "rhn", "rhn": {"tied": True, **RANDOM}}, lambda m: by_steps(m, STEPS), 4),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_every_sub_network_is_read_once(name: str) -> None:
    keys, by_hand, count = MODELS[name]
    model = tiny_model(V, **keys)
    each = Tokenwise()
    values = exact(model, TEXT, VOCABULARY, recipe(), keep=each)
    assert values["deterministic"]["nll"] == evaluate(model, TEXT, VOCABULARY, recipe())["nll"]
    weights, log_p = zip(*by_hand(model), strict=True)
    w, p = torch.tensor(weights, dtype=torch.float64).view(-1, 1, 1), torch.stack(log_p).exp()
    assert float(w.sum()) == pytest.approx(1, abs=1e-12)
    mean = (w * p).sum(0)
    at = torch.arange(LENGTH), TARGETS
    own = -mean[at].log()
    np.testing.assert_allclose(each.nll(), own.numpy(), rtol=1e-10)
    assert values["nll"] == pytest.approx(float(own.mean()), rel=1e-10)
    nll = -p.log()[:, at[0], at[1]].mean(1)
    single = (w.flatten() * nll).sum()
    assert values["single"]["nll"] == pytest.approx(float(single), rel=1e-10)
    assert values["single"]["sd"] == pytest.approx(float((w.flatten() * (nll - single) ** 2).sum().sqrt()), rel=1e-7)
    geometric = (w * p.log()).sum(0).log_softmax(1)[at]
    assert values["geometric"]["nll"] == pytest.approx(float(-geometric.mean()), rel=1e-10)
    entropy = torch.special.entr(mean).sum(1) - (w * torch.special.entr(p)).sum((0, 2))
    assert values["disagreement"] == pytest.approx(float(entropy.mean()), rel=1e-8)
    ranked = values["sub_networks"]
    assert len(ranked) == count
    assert [one["nll"] for one in ranked] == pytest.approx(sorted(nll.tolist()), rel=1e-10)
    assert [one["probability"] for one in ranked] == pytest.approx([weights[i] for i in nll.argsort().tolist()])
    assert len({one["name"] for one in ranked}) == count
    likeliest = [float(nll[i]) for i in range(count) if weights[i] > max(weights) - 1e-9]
    assert min(abs(values["curve"]["1"] - one) for one in likeliest) < 1e-10
    assert values["curve"][str(count)] == pytest.approx(values["nll"], rel=1e-12)
    assert not model.training


LOCKED = {
    "depth": residual(3, survival=0.4, min_alive=1),
    "paths": {"stack": {"kind": "fractal", "columns": 3, "drop_path": {"rate": 0.4, "global_share": 0.0}}},
    "columns": {"stack": {"kind": "fractal", "columns": 3, "drop_path": {"global_share": 1.0, "state": "freeze"}}},
}


@pytest.mark.parametrize("name", list(LOCKED))
def test_many_draws_come_to_the_same(name: str) -> None:
    model, K = tiny_model(V, **LOCKED[name]), 4000
    drawn, every = Tokenwise(), Tokenwise()
    values = exact(model, TEXT, VOCABULARY, recipe(), keep=every)
    estimate = sampled(model, TEXT, VOCABULARY, recipe(), samples=K, seed=5, keep=drawn)
    members = sub_networks(model, "cpu")
    before = torch.cat([torch.tensor([0]), TARGETS[:-1]]).unsqueeze(1)
    w = torch.tensor([member.probability for member in members], dtype=torch.float64).unsqueeze(1)
    with torch.no_grad():
        batch = Batch(before, TARGETS.unsqueeze(1))
        features = [member.features(batch, True)[:, 0, 0] for member in members]
        p = torch.stack([model.output.logits(one).softmax(-1)[torch.arange(LENGTH), TARGETS] for one in features])
    sd = ((w * (p - (w * p).sum(0)) ** 2).sum(0) / K).sqrt().numpy()
    error = np.exp(-drawn.nll()) - np.exp(-every.nll())
    assert (np.abs(error) < 5 * sd + 1e-12).all()
    assert (sd > 1e-6).all()
    assert estimate["single"]["nll"] == pytest.approx(values["single"]["nll"], abs=5 * values["single"]["sd"] / K**0.5)
    assert estimate["single"]["sd"] == pytest.approx(values["single"]["sd"], rel=0.1)


@pytest.mark.parametrize("evaluation", [{"streams": 3}, {"pieces": 4}, {"window": 200}])
def test_streams_pieces_and_windows(evaluation: dict[str, Any]) -> None:
    model = tiny_model(V, **residual(2, survival=0.9999999))
    values = exact(model, TEXT, VOCABULARY, recipe(**evaluation))
    assert values["nll"] == pytest.approx(values["deterministic"]["nll"], rel=1e-5)


def test_noise_that_meets_more_noise() -> None:
    """A layer that is dropped and not computed draws no number of steps: 3 + 3 + 9 + 1 ways."""
    steps = {"recurrence": "rhn", "rhn": {"tied": True, "random_steps": {"mean": 2, "most": 3}}}
    model = tiny_model(V, **residual(2, over="batch", state="freeze"), **steps)
    found = sub_networks(model, "cpu")
    assert len(found) == 16
    assert sum(one.probability for one in found) == pytest.approx(1)
    assert "layers 1, 2 of 2; 3 steps; 1 step" in {one.name for one in found}
    assert "no layer of 2" in {one.name for one in found}


STEP = "there are too many sub-networks to count: some noise has a coin a step, unit or weight"
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "the model has no noise, so that there is nothing to enumerate"),
    ({"zoneout": {"cell": 0.5}}, STEP),
    ({"dropout": {"output": 0.5}, **residual(2)}, STEP),
    ({"dropout": {"weight": 0.5}}, STEP),
    ({"layers": 3, "stack": {"kind": "residual", "swapout": {}}}, STEP),
    (residual(2, over="step"), STEP),
    (
        {"recurrence": "rhn", "rhn": {"tied": True, "random_steps": {"most": 5}}, "stack": {"kind": "fast-slow"}},
        STEP,
    ),
    (residual(7), "the coins can fall in 128 ways, and at most 64 are enumerated"),
    (residual(40, min_alive=1), r"the coins can fall in 1,099,511,627,775 ways"),
    ({"stack": {"kind": "fractal", "columns": 5, "drop_path": {}}}, r"the coins can fall in 1,845,590 ways"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED, ids=str)
def test_noise_that_cannot_be_enumerated(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        sub_networks(tiny_model(V, **keys), "cpu")
