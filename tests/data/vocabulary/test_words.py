"""Words, the line end, and the unknown word."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.data.vocabulary import WordVocabulary
from lsseq.errors import RequestError

TEXT = "the cat sat\nthe dog sat on the cat\n"


def test_the_order_is_by_count_then_by_word():
    vocabulary = WordVocabulary.from_blocks([TEXT.encode()])
    assert vocabulary.tokens == ("the", "<eos>", "cat", "sat", "dog", "on", "<unk>")
    assert vocabulary.start == 1
    assert vocabulary.unknown == "<unk>"


def test_encode_and_decode():
    vocabulary = WordVocabulary.from_blocks([TEXT.encode()])
    assert vocabulary.encode("the  bird\tsat\n\non").tolist() == [0, 6, 3, 1, 1, 5]
    assert vocabulary.decode([0, 6, 3, 1, 1, 5]) == "the <unk> sat\n\non"


def test_a_last_line_without_an_end_has_none():
    assert WordVocabulary.from_blocks([TEXT.encode()]).encode("the cat").tolist() == [0, 2]


def test_cut_off_words_count_as_unknown():
    assert WordVocabulary.from_blocks([TEXT.encode()], minimum=2).tokens == ("the", "<eos>", "<unk>", "cat", "sat")
    assert WordVocabulary.from_blocks([TEXT.encode()], size=4).tokens == ("<unk>", "the", "<eos>", "cat")


def test_special_tokens_of_the_text_are_the_special_tokens():
    vocabulary = WordVocabulary.from_blocks([b"a <unk> b\n"])
    assert sorted(vocabulary.tokens) == ["<eos>", "<unk>", "a", "b"]
    assert vocabulary.encode("<unk> c <eos>").tolist() == [
        vocabulary.ids["<unk>"],
        vocabulary.ids["<unk>"],
        vocabulary.ids["<eos>"],
    ]


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=2), max_size=40), st.integers(3, 12), st.integers(1, 3))
def test_counts_in_blocks_are_counts_of_the_whole(words, size, minimum):
    blocks = [f"{word} ".encode() for word in words]
    vocabulary = WordVocabulary.from_blocks(blocks, size=size, minimum=minimum)
    assert vocabulary.tokens == WordVocabulary.from_blocks([b"".join(blocks)], size=size, minimum=minimum).tokens
    counts = Counter(words)
    expected = sorted((word for word in counts if counts[word] >= minimum), key=lambda w: (-counts[w], w))[: size - 2]
    assert [token for token in vocabulary.tokens if not token.startswith("<")] == expected
    assert len(vocabulary) <= size


def test_any_iterable_of_lines_is_counted():
    lines = iter(["the cat sat", "the dog sat on the cat\n"])
    assert WordVocabulary.from_iterator(lines).tokens == WordVocabulary.from_blocks([TEXT.encode()]).tokens


def test_without_an_end_token_lines_are_not_seen():
    vocabulary = WordVocabulary(["a", "b"])
    assert vocabulary.start is None
    assert vocabulary.encode("a\nb").tolist() == [0, 1]


def test_without_an_unknown_token_a_new_word_is_placed():
    with pytest.raises(RequestError) as caught:
        WordVocabulary(["a", "b", "<eos>"]).encode("a b\nab  new b\n".replace("ab ", "a "), source="text.txt")
    assert str(caught.value).splitlines()[:4] == [
        "error: 'new' at line 2, column 4 is not in the vocabulary, which has no `<unk>`",
        "  --> text.txt:2",
        "2 | a  new b",
        "  |    ^^^",
    ]
