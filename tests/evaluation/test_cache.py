"""The neural cache against its definition, one token at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import tiny_model

from lsseq.data import Split
from lsseq.data.batches import Batch
from lsseq.data.vocabulary import CharVocabulary
from lsseq.evaluation.cache import CacheReader
from lsseq.evaluation.perplexity import measure_split
from lsseq.evaluation.reading import Tokenwise
from lsseq.model.language_model import LanguageModel
from lsseq.recipe.schema import Evaluation, NeuralCache

VOCABULARY = CharVocabulary("\nabcdef")
TOKENS = np.random.default_rng(3).integers(0, 7, 61).astype(np.uint8)


def naive(model: LanguageModel, cache: NeuralCache, tokens: np.ndarray) -> np.ndarray:
    """Nats of every token."""
    inputs = torch.tensor([0, *tokens[:-1].tolist()]).unsqueeze(1)
    with torch.no_grad():
        features, _, _ = model.features(inputs)
        p_model = torch.softmax(model.output.logits(features), -1)[:, 0].numpy()
    h = features[:, 0].numpy()
    nll = []
    for t, target in enumerate(tokens.tolist()):
        p = p_model[t]
        remembered = range(max(0, t - cache.size), t)
        if remembered:
            strengths = [math.exp(cache.flatness * float(h[t] @ h[i])) for i in remembered]
            p_cache = np.zeros(7)
            for i, strength in zip(remembered, strengths, strict=True):
                p_cache[tokens[i]] += strength
            p = (1 - cache.weight) * p + cache.weight * p_cache / sum(strengths)
        nll.append(-math.log(p[target]) if p[target] > 0 else math.inf)
    return np.array(nll)


def read(model: LanguageModel, cache: NeuralCache, streams: int = 1, **keys: Any) -> np.ndarray:
    keep = Tokenwise()
    evaluation = Evaluation.model_validate(keys)
    split = Split(TOKENS, None, 0)
    reader = CacheReader(model, cache)
    measure_split(model, split, VOCABULARY, evaluation, streams=streams, device="cpu", reader=reader, keep=keep)
    return keep.nll()


@pytest.mark.parametrize("window", [1, 4, 20, 100])
@pytest.mark.parametrize("size", [1, 5, 500])
def test_every_token_is_the_definition(size: int, window: int) -> None:
    model = tiny_model()
    cache = NeuralCache(size=size, flatness=3.0, weight=0.3)
    np.testing.assert_allclose(read(model, cache, window=window), naive(model, cache, TOKENS), rtol=1e-10)


def test_without_weight_it_is_the_model() -> None:
    model = tiny_model()
    with torch.no_grad():
        static = model.score(
            Batch(torch.tensor([[0, *TOKENS[:-1].tolist()]]).t(), torch.tensor(TOKENS.astype(int))[:, None])
        )
    np.testing.assert_allclose(read(model, NeuralCache(weight=0.0)), static.nll[:, 0].numpy(), rtol=1e-12)


def test_with_all_the_weight_an_unseen_token_is_impossible() -> None:
    model = tiny_model()
    cache = NeuralCache(weight=1.0)
    expected = naive(model, cache, TOKENS)
    assert np.isinf(expected).any()
    np.testing.assert_allclose(read(model, cache), expected, rtol=1e-10)


def test_every_stream_remembers_its_own_past() -> None:
    model = tiny_model()
    cache = NeuralCache(size=10, weight=0.3)
    model_of_each = read(model, cache, streams=2, window=8)
    first = naive(model, cache, TOKENS[:31])
    np.testing.assert_allclose(model_of_each[:31], first, rtol=1e-10)
    assert len(model_of_each) == 61
    assert (model_of_each > 0).all()


def test_repetition_becomes_likelier() -> None:
    model = tiny_model()
    cache = NeuralCache(size=50, flatness=20.0, weight=0.5)
    text = np.tile(np.arange(7, dtype=np.uint8), 10)
    nll = naive(model, cache, text)
    split = Split(text, None, 0)
    reader = CacheReader(model, cache)
    ours = measure_split(model, split, VOCABULARY, Evaluation(), streams=1, device="cpu", reader=reader)
    static = measure_split(model, split, VOCABULARY, Evaluation(), streams=1, device="cpu")
    assert ours["nll"] == pytest.approx(nll.mean(), rel=1e-10)
    assert ours["nll"] < static["nll"]
