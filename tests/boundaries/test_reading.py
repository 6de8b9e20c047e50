"""Reading a text with a model for its boundaries: the same whatever is read at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from lsseq.boundaries import reading
from lsseq.boundaries.analysis import Text, measure
from lsseq.boundaries.reading import Seen, read
from lsseq.data import Gold, Stretch
from lsseq.data.vocabulary import ByteVocabulary
from lsseq.errors import RequestError
from lsseq.model.factory import build_model
from lsseq.model.language_model import LanguageModel
from lsseq.recipe.schema import Model

V = 7
FIELDS = ("found", "probability", "surprisal", "entropy", "updates", "norms")


def make(recurrence: str = "hm-lstm", vocabulary_size: int = V, **options: Any) -> LanguageModel:
    torch.manual_seed(0)
    layers = 3 if recurrence == "hm-lstm" else 1
    model = build_model(Model(recurrence=recurrence, hidden=8, layers=layers, embedding=4, **options), vocabulary_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model.double().eval()


def text(length: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, length).astype(np.uint8)


def joined(parts: list[Seen], name: str) -> np.ndarray:
    return np.concatenate([getattr(part, name) for part in parts])


def test_what_is_seen_at_each_symbol() -> None:
    model, tokens = make(), text(40)
    (seen,) = read(model, [Stretch(tokens)], None)
    inputs = torch.from_numpy(np.concatenate([[-1], tokens]).astype(np.int64)).unsqueeze(1)
    with torch.no_grad():
        features, _, extras = model.features(inputs)
        log_p = torch.log_softmax(model.output.logits(features), dim=-1)[:-1, 0]
    # Step 0 reads what comes before the text, so the symbol t is read at step t + 1 and predicted at step t.
    assert 0 < seen.found.mean() < 1
    assert np.array_equal(seen.found, extras["boundaries"][1:, 0].numpy() > 0)
    np.testing.assert_allclose(seen.probability, extras["probabilities"][1:, 0], rtol=1e-5)
    np.testing.assert_allclose(seen.surprisal, -log_p.numpy()[np.arange(40), tokens], rtol=1e-5)
    np.testing.assert_allclose(seen.entropy, -(log_p.exp() * log_p).sum(-1), rtol=1e-5)
    z = extras["boundaries"][:, 0].numpy() > 0
    assert seen.updates is not None
    assert seen.updates[:, 0].all()
    assert np.array_equal(seen.updates[:, 1], z[1:, 0] | z[:-1, 1])
    assert np.array_equal(seen.updates[:, 2], z[1:, 1])
    assert seen.norms is not None
    assert seen.norms.shape == (40, 3)


@pytest.mark.parametrize("recurrence", ["hm-lstm", "lstm"])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 40, 100])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, recurrence: str, length: int) -> None:
    model, tokens = make(recurrence), text(length)
    (whole,) = read(model, [Stretch(tokens)], 3)
    monkeypatch.setattr(reading, "BLOCK", 16)
    parts = list(read(model, [Stretch(tokens)], 3))
    assert len(parts) == -(-length // 16)
    assert [part.start for part in parts] == list(range(0, length, 16))
    for name in FIELDS:
        if getattr(whole, name) is None:
            assert all(getattr(part, name) is None for part in parts)
        else:
            np.testing.assert_allclose(joined(parts, name), getattr(whole, name), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("length", [17, 40, 64, 100, 101])
def test_streams_begin_some_symbols_early(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr(reading, "BLOCK", 16)
    monkeypatch.setattr(reading, "WARM_UP", 8)
    model, tokens = make("lstm"), text(length)
    parts = list(read(model, [Stretch(tokens)], 3, streams=3))
    assert sum(len(part.found) for part in parts) == length
    surprisal = joined(parts, "surprisal")
    # The first block is exact; a later one is what the model makes of it from eight symbols before it on.
    (whole,) = read(model, [Stretch(tokens[:16])], 3)
    np.testing.assert_allclose(surprisal[:16], whole.surprisal, rtol=1e-5)
    for start in range(16, length, 16):
        with torch.no_grad():
            piece = torch.from_numpy(tokens[start - 8 : start + 16].astype(np.int64)).unsqueeze(1)
            features, _, _ = model.features(piece)
            log_p = torch.log_softmax(model.output.logits(features), dim=-1)[:, 0]
        want = -log_p.numpy()[7:-1][np.arange(len(piece) - 8), piece[8:, 0]]
        np.testing.assert_allclose(surprisal[start : start + 16], want, rtol=1e-5)


def test_report_and_excerpt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK", 16)
    model, tokens = make(vocabulary_size=256), text(90)
    words = np.zeros(90, np.bool_)
    words[4::5] = True
    gold = Gold({"words": words}, np.arange(90) == 89)
    report, excerpt = measure(model, ByteVocabulary(), Text.of([Stretch(tokens, gold=gold)]), limit=30)
    assert report.values["characters"] == 90
    assert len(report.values["layers"]) == 2
    assert report.values["gold"] == ["words"]
    assert set(report.values["baselines"]) == {"always", "stride", "random", "surprisal", "entropy"}
    assert len(excerpt.symbols) == len(excerpt.found) == 30
    model = make("lstm", vocabulary_size=256)
    report, excerpt = measure(model, ByteVocabulary(), Text.of([Stretch(tokens)]), limit=0)
    assert report.values == {"characters": 90, "layers": []}
    assert excerpt.symbols == []


@pytest.mark.parametrize("streams", [1, 3])
def test_stretches_of_any_size_give_the_same_report(monkeypatch: pytest.MonkeyPatch, streams: int) -> None:
    monkeypatch.setattr(reading, "BLOCK", 16)
    monkeypatch.setattr(reading, "WARM_UP", 8)
    model, tokens = make(vocabulary_size=256), text(150)
    draw = np.random.default_rng(0)
    words = draw.random(150) < 0.3
    whole = Stretch(tokens, gold=Gold({"words": words}, np.arange(150) == 149))
    report, excerpt = measure(model, ByteVocabulary(), Text.of([whole]), limit=40, streams=streams)
    cuts = [0, *np.sort(draw.choice(np.arange(1, 150), 30, replace=False)).tolist(), 150]
    parts = [whole[start:end] for start, end in pairwise(cuts)]
    again, shown = measure(model, ByteVocabulary(), Text.of(parts), limit=40, streams=streams)
    assert again == report
    assert shown.symbols == excerpt.symbols
    assert np.array_equal(shown.gold["words"], words[:40])


def test_a_text_without_ends_inside_its_lines_has_no_gold() -> None:
    nothing = Gold({"words": np.arange(9) == 8}, np.arange(9) == 8)
    assert Text.of([Stretch(text(9), gold=nothing)]).rates == {}
    with pytest.raises(RequestError, match="the text is empty"):
        Text.of([])
