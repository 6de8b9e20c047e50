"""Characters and bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.data.vocabulary import ByteVocabulary, CharVocabulary
from lsseq.errors import RequestError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(TEXTS)
def test_characters_round_trip(text):
    vocabulary = CharVocabulary.from_blocks([text.encode()])
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.decode(vocabulary.encode(text.encode())) == text
    assert list(vocabulary.tokens) == sorted(set(text))
    assert ids.dtype == np.int64
    assert vocabulary.lossless


@given(st.binary(max_size=80))
def test_bytes_round_trip(data):
    vocabulary = ByteVocabulary()
    assert bytes(vocabulary.encode(data).tolist()) == data
    assert vocabulary.decode(vocabulary.encode(data)) == data.decode(errors="replace")


def test_the_line_feed_starts():
    assert CharVocabulary(["a", "\n"]).start == 1
    assert CharVocabulary(["a", " "]).start is None
    assert ByteVocabulary().start == 10
    assert len(ByteVocabulary()) == 256


def test_an_unseen_character_is_placed():
    with pytest.raises(RequestError) as caught:
        CharVocabulary(list("ab\n")).encode("ab\nba😀a", source="prompt")
    assert str(caught.value) == (
        "error: '😀' (U+1F600) at line 2, column 3 is not in the vocabulary, which has no `<unk>`\n"
        "  --> prompt:2\n"
        "2 | ba😀a\n"
        "  |   ^\n"
        "hint: `data.unit=byte` or `data.unit=sentencepiece` can read every text"
    )
    assert caught.value.exit_code == 2


def test_with_an_unknown_token_every_character_is_read():
    vocabulary = CharVocabulary(["<unk>", "a", "b"], unknown="<unk>")
    assert vocabulary.encode("a€b").tolist() == [1, 0, 2]
    assert not vocabulary.lossless


def test_tokens_are_single_and_different():
    with pytest.raises(ValueError, match="'ab' is not one character"):
        CharVocabulary(["ab"])
    with pytest.raises(ValueError, match="'a' stands twice"):
        CharVocabulary(["a", "b", "a"])
    with pytest.raises(ValueError, match="the unknown token '<unk>' is not in the vocabulary"):
        CharVocabulary(["a"], unknown="<unk>")


def test_tokens_are_shown():
    assert CharVocabulary(["\n", "é"]).token(1) == "é"
    assert ByteVocabulary().token(97) == "a"
    assert ByteVocabulary().token(0xFF) == "<0xFF>"
