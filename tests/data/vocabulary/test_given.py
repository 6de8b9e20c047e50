"""Vocabularies made elsewhere."""

from __future__ import annotations

import pickle

import pytest

from lsseq.data.vocabulary import CharVocabulary, WordVocabulary, from_torchtext
from lsseq.data.vocabulary.given import read_vocabulary
from lsseq.errors import RequestError
from lsseq.recipe.faults import KeyFault


class Vocab:
    """As `torchtext.vocab.Vocab` answers."""

    def __init__(self, tokens, default=None):
        self.tokens, self.default = tokens, default

    def get_itos(self):
        return list(self.tokens)

    def get_default_index(self):
        return self.default


def test_a_torchtext_object_keeps_its_numbers():
    vocabulary = from_torchtext(Vocab(["<pad>", "<unk>", "the", "<eos>"], default=1))
    assert isinstance(vocabulary, WordVocabulary)
    assert vocabulary.encode("the cat\n").tolist() == [2, 1, 3]
    assert vocabulary.start == 3


def test_a_torchtext_object_of_characters():
    vocabulary = from_torchtext(Vocab(["<unk>", "a", "b"], default=0), unit="char")
    assert isinstance(vocabulary, CharVocabulary)
    assert vocabulary.encode("bac").tolist() == [2, 1, 0]


def test_a_text_file_has_one_token_a_line(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"<unk>\nthe\r\n cat \n")
    vocabulary = read_vocabulary(tmp_path / "vocab.txt", "word")
    assert isinstance(vocabulary, WordVocabulary)
    assert vocabulary.tokens == ("<unk>", "the", " cat ")
    assert vocabulary.unknown == "<unk>"


@pytest.mark.parametrize(
    ("content", "told", "line"),
    [
        (b"a\n\nb\n", "an empty line is no token", 2),
        (b"a\nb\na\n", "the token 'a' stands twice", 3),
        (b"a\n\xff\n", "the byte at offset 2 is not UTF-8", None),
        (b"", "the vocabulary file is empty", None),
    ],
)
def test_a_wrong_text_file_says_where(tmp_path, content, told, line):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(RequestError) as caught:
        read_vocabulary(tmp_path / "vocab.txt", "word")
    assert caught.value.message == told
    assert caught.value.place is not None
    assert (caught.value.place.source, caught.value.place.line) == (str(tmp_path / "vocab.txt"), line)


def test_an_own_file_must_be_of_the_unit(tmp_path):
    CharVocabulary(["a", "b"]).save(tmp_path)
    path = tmp_path / "vocabulary.json"
    assert read_vocabulary(path, "char").encode("ba").tolist() == [1, 0]
    with pytest.raises(KeyFault, match="is a vocabulary of the unit char, not word") as caught:
        read_vocabulary(path, "word")
    assert caught.value.key == "data.vocabulary"


def test_a_missing_file(tmp_path):
    with pytest.raises(KeyFault, match="there is no file") as caught:
        read_vocabulary(tmp_path / "vocab.txt", "word")
    assert caught.value.key == "data.vocabulary"


def test_sentencepiece_needs_its_own_form(tmp_path):
    (tmp_path / "vocab.txt").write_text("a\n")
    with pytest.raises(KeyFault, match=r"is not a vocabulary\.json"):
        read_vocabulary(tmp_path / "vocab.txt", "sentencepiece")


def test_a_pickle_is_known_by_its_content(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(pickle.dumps(["a"]))
    with pytest.raises(RequestError, match="is not a saved torchtext vocabulary"):
        read_vocabulary(tmp_path / "vocab.txt", "word")


def test_words_are_no_characters(tmp_path):
    (tmp_path / "vocab.txt").write_text("ab\nc\n")
    with pytest.raises(RequestError, match="the token 'ab' is not one character"):
        read_vocabulary(tmp_path / "vocab.txt", "char")
