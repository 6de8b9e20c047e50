"""The figures against arithmetic by hand."""

from __future__ import annotations

import math

import pytest

from lsseq.evaluation.figures import figures


def test_characters() -> None:
    values = figures(200 * math.log(2), 100, unit="char", lossless=True, characters=100, text_bytes=120)
    assert values == {"nll": 2 * math.log(2), "perplexity": pytest.approx(4.0), "bpc": pytest.approx(2.0)}


def test_bytes_have_both() -> None:
    values = figures(240 * math.log(2), 120, unit="byte", lossless=True, characters=100, text_bytes=120)
    assert values["bpb"] == pytest.approx(2.0)
    assert values["bpc"] == pytest.approx(2.4)


def test_bytes_that_are_no_text_have_no_characters() -> None:
    values = figures(240.0, 120, unit="byte", lossless=True, characters=None, text_bytes=120)
    assert set(values) == {"nll", "perplexity", "bpb"}


def test_pieces_are_counted_by_the_characters_they_stand_for() -> None:
    values = figures(90 * math.log(2), 10, unit="sentencepiece", lossless=True, characters=45, text_bytes=45)
    assert values["bpc"] == pytest.approx(2.0)


def test_words_lose_the_text() -> None:
    values = figures(90.0, 10, unit="word", lossless=False, characters=45, text_bytes=45)
    assert set(values) == {"nll", "perplexity"}


def test_a_perplexity_beyond_the_floats_is_infinite() -> None:
    values = figures(1000.0, 1, unit="char", lossless=True, characters=1, text_bytes=1)
    assert values["perplexity"] == math.inf
    assert values["nll"] == 1000.0


def test_a_diverged_model_has_no_number() -> None:
    values = figures(math.nan, 1, unit="char", lossless=True, characters=1, text_bytes=1)
    assert math.isnan(values["nll"])
    assert math.isnan(values["perplexity"])
