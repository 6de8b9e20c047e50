"""Random lexicons: their text, their entropy, and whether the text can be read in one way only."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.data import open_text
from lsseq.data.corpus import load_corpus
from lsseq.data.lexicon import Lexicon, uniquely_decodable
from lsseq.recipe.schema import Data


def spelled_twice(code: list[str], longest: int) -> bool:
    """Whether two sequences of up to so many words spell one text."""
    texts = ("".join(words) for n in range(1, longest + 1) for words in itertools.product(code, repeat=n))
    return max(Counter(texts).values()) > 1


@pytest.mark.parametrize(
    ("code", "unique"),
    [
        (["0", "10", "11"], True),
        (["0", "01", "11"], True),  # no prefix code: a suffix code
        (["0", "01", "10"], False),  # 0 10 = 01 0
        (["1", "011", "01110", "1110", "10011"], False),  # the example of the literature: 01110 011 … = 011 1 …
        (["a", "a"], False),
        ([""], False),
    ],
)
def test_uniquely_decodable(code, unique):
    assert uniquely_decodable(code) is unique


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=3), min_size=2, max_size=4, unique=True))
def test_what_is_spelled_twice_is_not_uniquely_decodable(code):
    if spelled_twice(code, 5):
        assert not uniquely_decodable(code)
    else:
        # Five words suffice for every ambiguity of so small codes, or there is none.
        assert uniquely_decodable(code) or spelled_twice(code, 8)


def test_the_entropy_rate_of_a_small_lexicon():
    lexicon = Lexicon((("ab", "c"), ("d",)), (0.5, 0.5))
    rate = lexicon.entropy_rate()
    assert rate.exact
    assert rate.stripped == pytest.approx(1 / 2)  # one bit for 3 or 1 letters
    assert rate.with_spaces == pytest.approx(1 / 4.5)  # "ab c  " or "d  "
    assert not Lexicon((("a", "b"), ("ab",)), (0.5, 0.5)).entropy_rate().exact


def test_drawn_lexicons_are_of_the_sizes_asked_for_and_repeat():
    sizes = {"letters": "abc", "words": 8, "word_lengths": (1, 3), "phrases": 9, "phrase_lengths": (2, 3)}
    lexicon = Lexicon.drawn(1, **sizes)
    assert lexicon == Lexicon.drawn(1, **sizes) != Lexicon.drawn(2, **sizes)
    words = {word for phrase in lexicon.phrases for word in phrase}
    assert len(set(lexicon.phrases)) == 9
    assert len(words) <= 8
    assert {len(word) for word in words} <= {1, 2, 3}
    assert {len(phrase) for phrase in lexicon.phrases} == {2, 3}
    assert sum(lexicon.probabilities) == pytest.approx(1)


@pytest.mark.usefixtures("own_data")
class TestCorpus:
    def test_its_text_and_its_gold(self):
        corpus = load_corpus("nested-lexicon")
        assert not corpus.files
        data = open_text(Data(corpus="nested-lexicon", strip_spaces=True))
        assert "".join(data.vocabulary.tokens) == "abcdefghijklmnop"
        train = data.splits["train"]
        assert 500_000 <= len(train.tokens) < 500_020
        assert hashlib.sha256(train.tokens).hexdigest()[:8] == "3068f4fb"
        gold = data.splits["valid"].gold
        assert list(gold.levels) == ["words", "phrases"]
        assert (gold.levels["words"] | ~gold.levels["phrases"]).all()

    def test_the_best_code_for_its_text_is_as_long_as_the_entropy_says(self):
        corpus = load_corpus("nested-lexicon")
        rate = corpus.entropy_rate
        assert rate.exact
        text = b"".join(corpus.prepare({})["train"]).decode()
        phrases = text.split("  ")[:-1]
        counts = Counter(phrases)
        # The n-th likeliest of 300 has the probability 1 / n over the sum of these.
        total = sum(1 / n for n in range(1, 301))
        assert len(counts) == 300
        ranked = [count for _, count in counts.most_common()]
        assert ranked[0] / len(phrases) == pytest.approx(1 / total, rel=0.02)
        bits = -sum(count * math.log2(count / len(phrases)) for count in ranked)
        assert bits / len(text.replace(" ", "")) == pytest.approx(rate.stripped, rel=0.01)
        assert bits / len(text) == pytest.approx(rate.with_spaces, rel=0.01)
