"""Dynamic evaluation against its equations, and what it must leave as it was."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import tiny_model

from lsseq.data import Split
from lsseq.data.batches import Batch, evaluation_windows
from lsseq.data.vocabulary import CharVocabulary
from lsseq.evaluation import dynamic
from lsseq.evaluation.dynamic import dynamic_reader, gradient_statistics
from lsseq.evaluation.perplexity import measure_split
from lsseq.model.language_model import LanguageModel
from lsseq.recipe.schema import DynamicEvaluation, Evaluation

VOCABULARY = CharVocabulary("\nabcdef")
TRAIN = np.random.default_rng(1).integers(0, 7, 997).astype(np.uint8)
TEXT = np.tile(np.random.default_rng(2).integers(0, 7, 23), 20).astype(np.uint8)


def rates(**keys: Any) -> DynamicEvaluation:
    return DynamicEvaluation.model_construct(**{"lr": 1e-3, "decay": 0.05, "epsilon": 1e-3, "segment": 5, **keys})


def statistics(model: LanguageModel) -> list[torch.Tensor]:
    return gradient_statistics(model, TRAIN, 0, segment=5, device="cpu")


def measure(model: LanguageModel, chosen: DynamicEvaluation, **keys: Any) -> float:
    with dynamic_reader(model, chosen, statistics(model)) as reader:
        values = measure_split(
            model, Split(TEXT, None, 0), VOCABULARY, Evaluation(), streams=1, device="cpu", reader=reader, **keys
        )
    return float(values["nll"])


def nll_gradients(model: LanguageModel, batch: Batch, state: Any) -> tuple[torch.Tensor, Any, list[torch.Tensor]]:
    score = model.score(batch, state)
    gradients = torch.autograd.grad(score.nll.mean(), list(model.parameters()))
    return score.nll.detach(), tuple(part.detach() for part in score.state), list(gradients)


def test_statistics_are_the_root_mean_square_over_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic, "STATISTICS_STREAMS", 10)
    monkeypatch.setattr(dynamic, "STATISTICS_TOKENS", 500)
    model = tiny_model()
    squares, state, windows = [0.0] * len(list(model.parameters())), None, 0
    streams = torch.from_numpy(TRAIN[:500].astype(np.int64)).view(10, 50).t()
    before = torch.cat([torch.tensor([[0, *TRAIN[49:499:50].tolist()]]), streams[:-1]])
    for begin in range(0, 50, 5):
        part = slice(begin, begin + 5)
        _, state, gradients = nll_gradients(model, Batch(before[part], streams[part]), state)
        squares = [square + gradient**2 for square, gradient in zip(squares, gradients, strict=True)]
        windows += 1
    for rms, square in zip(statistics(model), squares, strict=True):
        torch.testing.assert_close(rms, (square / windows).sqrt(), rtol=1e-10, atol=1e-15)


def test_updates_are_those_of_the_equation() -> None:
    chosen = rates()
    model, other = tiny_model(), tiny_model()
    rms = statistics(other)
    mean = sum(float(r.mean()) for r in rms) / len(rms)
    trained = [p.detach().clone() for p in other.parameters()]
    total, state = 0.0, None
    for window in evaluation_windows(TEXT, 0, streams=1, window=5):
        nll, state, gradients = nll_gradients(other, window.batch, state)
        total += float(nll.sum())
        with torch.no_grad():
            for p, g, r, trained_p in zip(other.parameters(), gradients, rms, trained, strict=True):
                ratio = torch.clamp(r / mean, max=1 / chosen.decay)
                p.add_(-chosen.lr * g / (r + chosen.epsilon) + chosen.decay * ratio * (trained_p - p))
    assert measure(model, chosen) == pytest.approx(total / len(TEXT), rel=1e-10)


def test_without_a_rate_it_is_static_evaluation() -> None:
    model = tiny_model(double=False, backend="reference")
    static = measure_split(model, Split(TEXT, None, 0), VOCABULARY, Evaluation(window=5), streams=1, device="cpu")
    assert measure(model, rates(lr=0.0)) == static["nll"]


@pytest.mark.parametrize("fails", [False, True])
def test_the_trained_weights_come_back_to_the_bit(fails: bool) -> None:
    model = tiny_model(double=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with (
        pytest.raises(RuntimeError) if fails else nullcontext(),
        dynamic_reader(model, rates(lr=1.0), statistics(model)) as reader,
    ):
        reader.read(Batch(torch.zeros(5, 1, dtype=torch.int64), torch.ones(5, 1, dtype=torch.int64)), fresh=True)
        assert any(not torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        if fails:
            raise RuntimeError
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_text_that_repeats_itself_becomes_likelier() -> None:
    model = tiny_model(hidden=32, embedding=16)
    static = measure_split(model, Split(TEXT, None, 0), VOCABULARY, Evaluation(), streams=1, device="cpu")
    assert measure(model, rates(lr=0.002, decay=0.0)) < 0.8 * static["nll"]


def test_the_segment_and_not_the_window_says_when_the_weights_change() -> None:
    model = tiny_model()
    with dynamic_reader(model, rates(segment=7), statistics(model)) as reader:
        assert reader.window == 7
