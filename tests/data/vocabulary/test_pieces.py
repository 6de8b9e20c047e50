"""Sentencepiece: nothing of the text is lost, and the same text gives the same pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.data.text import Text, UndecodableError
from lsseq.data.vocabulary import SentencePieceVocabulary, building
from lsseq.data.vocabulary.building import build_vocabulary
from lsseq.data.vocabulary.pieces import SentencePieceError
from lsseq.recipe.schema import Data

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def vocabulary(request, small_text) -> SentencePieceVocabulary:
    return SentencePieceVocabulary.train([small_text.read_bytes()], size=500, algorithm=request.param)


@pytest.mark.parametrize(
    "text",
    [
        "a  b\tc\n\n  d ",
        "  leading, trailing  \r\nCRLF\r",
        "\u2581 literal \u2581\u2581 and the escape \U0010fffd0 \U0010fffd1 \U0010fffd",
        "\x00 NUL, 😀, e\u0301 and é, \ufeff mark",
        "<unk> <s> </s> <0x41> \n<unk>\n",
        "x" * 10_000,
        "",
    ],
)
def test_hard_texts_round_trip(vocabulary, text):
    assert vocabulary.decode(vocabulary.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_every_text_round_trips(vocabulary, text):
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_an_escape_that_is_cut_is_an_incomplete_character(vocabulary):
    ids = vocabulary.encode("\u2581")
    assert vocabulary.decode(ids[:-1]) == "\N{REPLACEMENT CHARACTER}"
    assert vocabulary.decode(ids) == "\u2581"


def test_the_text_it_learned_from_round_trips(vocabulary, small_text):
    text = small_text.read_text()
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert len(ids) < 0.6 * len(text)
    assert vocabulary.lossless


def test_pieces_stop_at_line_ends(vocabulary):
    assert vocabulary.start is not None
    assert vocabulary.token(vocabulary.start) == "\n"
    both = vocabulary.encode("some text\nmore text\n").tolist()
    assert both == [*vocabulary.encode("some text\n"), *vocabulary.encode("more text\n")]


def test_tokens_are_shown_with_spaces(vocabulary):
    shown = [vocabulary.token(index) for index in vocabulary.encode("of the language")]
    assert "".join(shown) == "of the language"


def test_training_repeats_to_the_byte(small_text):
    content = small_text.read_bytes()
    first = SentencePieceVocabulary.train([content], size=400)
    assert first.model == SentencePieceVocabulary.train([content], size=400).model


def test_unknown_is_learned_from_texts_that_spell_it():
    text = "the <unk> of <unk> is N\n" * 50
    vocabulary = SentencePieceVocabulary.train([text.encode()], size=300, algorithm="bpe")
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_long_lines_are_learned_from():
    vocabulary = SentencePieceVocabulary.train([b"abcabcabc" * 2000], size=300, algorithm="bpe")
    assert len(vocabulary.encode("abc" * 100)) < 100


def test_a_size_that_cannot_be_is_explained(small_text):
    with pytest.raises(SentencePieceError, match=r"100 are too few: the bytes and the characters .* are \d+"):
        SentencePieceVocabulary.train([small_text.read_bytes()], size=100)
    with pytest.raises(SentencePieceError, match="the text has nothing to learn from"):
        SentencePieceVocabulary.train([b"\n\n"], size=300)


def test_a_size_that_the_text_does_not_fill_is_not_filled(small_text):
    assert 300 < len(SentencePieceVocabulary.train([small_text.read_bytes()], size=200_000)) < 5000


def test_an_error_of_the_text_is_not_hidden():
    with pytest.raises(UndecodableError):
        SentencePieceVocabulary.train([b"good text\n" * 50, b"bad \xff text"], size=300)


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="not a sentencepiece model"):
        SentencePieceVocabulary(b"nonsense")


def test_a_sample_is_every_nth_sentence(small_text):
    lines = [line for line in small_text.read_bytes().split(b"\n") if line]
    sampled, chosen = (
        SentencePieceVocabulary.train([b"\n".join(given)], size=400, every=every).model
        for given, every in ((lines, 3), (lines[::3], 1))
    )
    assert sampled == chosen


def test_a_long_text_is_sampled(small_text, monkeypatch):
    text, data = Text.of(small_text), Data(text=str(small_text), unit="sentencepiece", vocabulary_size=400)
    monkeypatch.setattr(building, "SAMPLE", text.size() * 2 // 5)
    sampled = SentencePieceVocabulary.train(text.blocks(), size=400, every=3)
    assert build_vocabulary(data, text).contents() == sampled.contents()
