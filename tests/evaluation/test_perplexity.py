"""Measuring a split: every token once, whatever is computed at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import tiny_model

from lsseq.data import Split
from lsseq.data.batches import START, Batch
from lsseq.data.vocabulary import CharVocabulary
from lsseq.errors import RequestError
from lsseq.evaluation.perplexity import evaluating, measure_split, protocol
from lsseq.evaluation.reading import Tokenwise
from lsseq.model.language_model import LanguageModel
from lsseq.recipe.schema import Evaluation

VOCABULARY = CharVocabulary("\nabcdef")
TOKENS = np.random.default_rng(0).integers(0, 7, 211).astype(np.uint8)
SPLIT = Split(TOKENS, 211, 211)


def measure(model: LanguageModel, streams: int = 1, keep: Tokenwise | None = None, **keys: Any) -> dict[str, Any]:
    evaluation = Evaluation.model_validate(keys)
    return measure_split(model, SPLIT, VOCABULARY, evaluation, streams=streams, device="cpu", keep=keep)


def one_by_one(model: LanguageModel, restart: int | None = None) -> np.ndarray:
    """Nats of every token, read one at a time; with `restart` the state starts anew so often."""
    nll, state, before = [], None, VOCABULARY.start if VOCABULARY.start is not None else START
    for number, token in enumerate(TOKENS.tolist()):
        if restart is not None and number % restart == 0:
            state = None
        with torch.no_grad():
            score = model.score(Batch(torch.tensor([[before]]), torch.tensor([[token]])), state)
        state, before = score.state, token
        nll.append(score.nll.item())
    return np.array(nll)


@pytest.mark.parametrize("keys", [{}, {"zoneout": {"cell": 0.5, "hidden": 0.1}}, {"hidden": [5, 6], "layers": 2}])
def test_one_stream_is_the_definition(keys: dict[str, Any]) -> None:
    model = tiny_model(**keys)
    values = measure(model)
    assert values["nll"] == pytest.approx(one_by_one(model).mean(), rel=1e-12)
    assert values["perplexity"] == math.exp(values["nll"])
    assert values["bpc"] == pytest.approx(values["nll"] / math.log(2), rel=1e-12)
    assert (values["tokens"], values["characters"]) == (211, 211)


@pytest.mark.parametrize("window", [1, 2, 7, 100, 211, 500])
def test_the_window_changes_nothing(window: int) -> None:
    model = tiny_model(double=False, learned_initial_state=True)
    assert measure(model, window=window)["nll"] == pytest.approx(measure(model, window=64)["nll"], rel=1e-6)


@pytest.mark.parametrize("streams", [2, 3, 8, 211])
def test_a_stream_begins_from_the_initial_state_and_the_true_token_before_it(streams: int) -> None:
    model = tiny_model()
    length = -(-211 // streams)
    assert measure(model, streams, window=13)["nll"] == pytest.approx(one_by_one(model, length).mean(), rel=1e-12)


def test_more_streams_than_tokens() -> None:
    model = tiny_model()
    assert measure(model, 1000)["nll"] == pytest.approx(one_by_one(model, 1).mean(), rel=1e-12)


@pytest.mark.parametrize("streams", [1, 5, 300])
def test_pieces_start_anew_whatever_is_read_side_by_side(streams: int) -> None:
    model = tiny_model()
    expected = one_by_one(model, 10).mean()
    assert measure(model, streams, pieces=10, window=4)["nll"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("streams", "pieces"), [(1, None), (4, None), (3, 10)])
def test_single_tokens_come_in_the_order_of_the_text(streams: int, pieces: int | None) -> None:
    model = tiny_model()
    keep = Tokenwise()
    measure(model, streams, keep, window=17, pieces=pieces)
    restart = pieces or (-(-211 // streams) if streams > 1 else None)
    np.testing.assert_allclose(keep.nll(), one_by_one(model, restart), rtol=1e-12)


def test_evaluation_draws_nothing_and_leaves_the_mode_as_it_was() -> None:
    model = tiny_model(dropout={"output": 0.5}, zoneout={"cell": 0.5}).train()
    before = torch.get_rng_state()
    first = measure(model)["nll"]
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert measure(model.eval())["nll"] == first
    assert not model.training
    with pytest.raises(RuntimeError), evaluating(model.train()):
        raise RuntimeError
    assert model.training


def test_an_empty_text_is_refused() -> None:
    empty = Split(TOKENS[:0], 0, 0)
    with pytest.raises(RequestError) as caught:
        measure_split(tiny_model(), empty, VOCABULARY, Evaluation(), streams=1, device="cpu")
    assert caught.value.message == "there is nothing to measure: the text is empty"


def test_protocol_in_words() -> None:
    assert protocol(Evaluation(), 1) == "state carried, 1 stream"
    assert protocol(Evaluation(), 8) == "state carried, 8 streams, each from the initial state"
    assert protocol(Evaluation(pieces=100), 8) == "pieces of 100, each from the initial state"
