"""vocabulary.json."""

from __future__ import annotations

import json

import pytest

from lsseq.data.vocabulary import (
    ByteVocabulary,
    CharVocabulary,
    SentencePieceVocabulary,
    WordVocabulary,
    load_vocabulary,
)
from lsseq.errors import RunError


def test_the_form_is_stable(tmp_path):
    CharVocabulary(["\n", "é"]).save(tmp_path)
    text = (tmp_path / "vocabulary.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "format": "lsseq-vocabulary",
        "version": 1,
        "unit": "char",
        "unknown": None,
        "tokens": ["\n", "é"],
    }
    assert "é" in text


@pytest.mark.parametrize(
    "vocabulary",
    [
        CharVocabulary(["\n", "a", "\u2028"]),
        CharVocabulary(["?", "a"], unknown="?"),
        ByteVocabulary(),
        WordVocabulary(["<unk>", "a", "<eos>"], "<unk>"),
        WordVocabulary(["a"]),
    ],
)
def test_what_is_saved_is_loaded(tmp_path, vocabulary):
    vocabulary.save(tmp_path)
    loaded = load_vocabulary(tmp_path)
    assert type(loaded) is type(vocabulary)
    assert loaded.contents() == vocabulary.contents()
    assert (loaded.start, loaded.lossless, len(loaded)) == (vocabulary.start, vocabulary.lossless, len(vocabulary))


def test_sentencepiece_keeps_its_model_beside(tmp_path, small_text):
    vocabulary = SentencePieceVocabulary.train([small_text.read_bytes()], size=400)
    vocabulary.save(tmp_path)
    assert (tmp_path / "sentencepiece.model").read_bytes() == vocabulary.model
    assert load_vocabulary(tmp_path).encode("some text").tolist() == vocabulary.encode("some text").tolist()
    (tmp_path / "sentencepiece.model").write_bytes(vocabulary.model + b"x")
    with pytest.raises(RunError, match=r"vocabulary\.json is damaged: sentencepiece\.model has the sha256"):
        load_vocabulary(tmp_path)
    (tmp_path / "sentencepiece.model").unlink()
    with pytest.raises(RunError, match=r"the vocabulary file .*sentencepiece\.model is missing"):
        load_vocabulary(tmp_path)


GOOD = {"format": "lsseq-vocabulary", "version": 1, "unit": "char", "unknown": None, "tokens": ["a", "b"]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "other"}, "it is not of the format lsseq-vocabulary"),
        ({"version": 2}, "it is of version 2, and this lsseq reads version 1"),
        ({"unit": "syllable"}, "unknown unit 'syllable'"),
        ({"tokens": "ab"}, "tokens is not a list of strings"),
        ({"tokens": ["a", 1]}, "tokens is not a list of strings"),
        ({"tokens": []}, "tokens is empty"),
        ({"tokens": ["a", "\ud800"]}, "it has half of a character, which no text can have"),
        ({"tokens": ["a", "a"]}, "the token 'a' stands twice in the vocabulary"),
        ({"tokens": ["a", "bc"]}, "the token 'bc' is not one character"),
        ({"unknown": "<unk>"}, "the unknown token '<unk>' is not in the vocabulary"),
        ({"unit": "sentencepiece", "model": "../m", "sha256": ""}, "model is not the name of a file beside it: '../m'"),
        ({"unit": "sentencepiece"}, "no key 'model'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, told):
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(RunError) as caught:
        load_vocabulary(tmp_path)
    assert caught.value.message == f"the vocabulary file {path} is damaged: {told}"
    assert caught.value.exit_code == 1


def test_a_cut_off_or_missing_file(tmp_path):
    with pytest.raises(RunError, match=r"the vocabulary file .*vocabulary\.json is missing"):
        load_vocabulary(tmp_path)
    (tmp_path / "vocabulary.json").write_text(json.dumps(GOOD)[:-5])
    with pytest.raises(RunError, match=r"the vocabulary file .*vocabulary\.json is damaged: "):
        load_vocabulary(tmp_path)
