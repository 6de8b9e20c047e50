"""Where units truly end: by spaces that are read, that were taken out, and that stand in a file beside."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.data import Gold, Split, Stretch, read_text
from lsseq.data.vocabulary import ByteVocabulary, CharVocabulary, Vocabulary, WordVocabulary
from lsseq.errors import RequestError
from lsseq.recipe.schema import Data

CHARS = CharVocabulary("\n abcdé")
LEVELS = ("words", "phrases")


def split(text: str, vocabulary: Vocabulary = CHARS, **keys) -> Split:
    return read_text(text, vocabulary, Data(**keys))


def shown(gold: Gold | None) -> dict[str, str]:
    """One sign a token: `|` where it is set."""
    assert gold is not None
    rows = {**gold.levels, "ends": gold.ends, "outside": gold.outside}
    return {name: "".join("|" if one else "." for one in row) for name, row in rows.items()}


def test_a_word_ends_after_the_symbol_before_its_space():
    assert shown(split("ab c\nd\n").gold) == {
        # ........."ab c\nd\n", the line feed being one symbol
        "words": ".|.|.|.",
        "ends": "...||||",
        "outside": "....|.|",
    }


def test_spaces_that_were_taken_out_mark_the_same_places():
    read = split("ab c\nd\n", strip_spaces=True)
    assert CHARS.decode(read.tokens) == "abc\nd\n"
    assert (read.characters, read.bytes) == (6, 6)
    assert shown(read.gold) == {"words": ".||.|.", "ends": "..||||", "outside": "...|.|"}


def test_two_levels_by_the_number_of_spaces(monkeypatch):
    monkeypatch.setattr("lsseq.data.opening.levels_of", lambda _: LEVELS)
    expected = {"words": "|.|.|", "phrases": "..|.|", "ends": "....|", "outside": "....."}
    assert shown(split("a bc   da", strip_spaces=True).gold) == expected
    visible = shown(split("a bc   da").gold)
    assert (visible["words"], visible["phrases"]) == ("|..|....|", "...|....|")


def test_spaces_at_the_ends_of_a_line_mark_nothing():
    assert shown(split(" a b \n c\n").gold) == {"words": ".|.|...|.", "ends": "...|||.||", "outside": "....||..|"}
    # As the text without spaces: one inner end of a word, after `a`.
    assert shown(split(" a b \n c\n", strip_spaces=True).gold)["words"] == "||.|."


def test_backwards_a_unit_ends_where_it_began():
    assert CHARS.decode(split("ab c\nd\n", reverse=True).tokens) == "\nd\nc ba"
    assert shown(split("ab c\nd\n", reverse=True).gold)["words"] == ".|.|..|"
    stripped = split("ab c\nd\n", strip_spaces=True, reverse=True)
    assert CHARS.decode(stripped.tokens) == "\nd\ncba"
    assert shown(stripped.gold) == {"words": ".|.|.|", "ends": "|||..|", "outside": "|.|..."}


@given(st.text(alphabet="ab \n", max_size=30))
def test_between_two_symbols_the_gold_is_the_same_in_both_directions(text):
    forward, backward = (split(f"a{text}a b", strip_spaces=True, reverse=reverse).gold for reverse in (False, True))
    assert forward is not None
    assert backward is not None
    # Place t forwards is between the symbols t and t + 1, as place N - 2 - t is backwards.
    inner = ~forward.ends[:-1]
    assert np.array_equal(inner, ~backward.ends[:-1][::-1])
    assert np.array_equal(forward.levels["words"][:-1][inner], backward.levels["words"][:-1][::-1][inner])


def test_bytes_and_characters_of_several_bytes():
    assert shown(split("é a", strip_spaces=True).gold)["words"] == "||"
    assert shown(split("é a", ByteVocabulary(), strip_spaces=True).gold)["words"] == ".||"
    assert shown(split("é a", ByteVocabulary()).gold)["words"] == ".|.|"


def test_no_gold_without_spaces_or_symbols():
    assert split("ab\ncd\n").gold is None
    assert split("ab\ncd\n", strip_spaces=True).gold is None
    assert split("a b", WordVocabulary(["a", "b"]), unit="word").gold is None
    assert Split(np.zeros(3, np.uint8), 3, 3).gold is None


def with_file(read: Split, path: Path) -> Gold:
    gold = Stretch.joined([*read.marked(path)]).gold
    assert gold is not None
    return gold


class TestFile:
    def test_the_same_text_with_spaces(self, tmp_path, monkeypatch):
        monkeypatch.setattr("lsseq.data.opening.levels_of", lambda _: LEVELS)
        (tmp_path / "gold.gz").write_bytes(gzip.compress(b"a bc  d\na\n"))
        for reverse, words in ((False, "|.||.|."), (True, ".|.|.||")):
            gold = with_file(split("abcd\na\n", reverse=reverse), tmp_path / "gold.gz")
            assert shown(gold)["words"] == words
        forward = with_file(split("abcd\na\n"), tmp_path / "gold.gz")
        assert shown(forward)["phrases"] == "..||.|."

    def test_syllables_of_a_text_with_visible_spaces(self, tmp_path, monkeypatch):
        monkeypatch.setattr("lsseq.data.opening.levels_of", lambda _: ("syllables", "words"))
        (tmp_path / "gold").write_bytes("a bé  c".encode())
        gold = with_file(split("abé c"), tmp_path / "gold")
        assert shown(gold) == {"syllables": "|.|.|", "words": "..|.|", "ends": "....|", "outside": "....."}

    @pytest.mark.parametrize(
        ("content", "reverse", "line", "column", "told"),
        [
            ("a b\né a\n", False, 2, 3, "it has 'a' where the text has 'd'"),
            ("a b\né a\n", True, 2, 3, "it has 'a' where the text has 'd'"),
            ("a b\n", False, 2, 1, "it has the end where the text has 'é'"),
            ("é d\n", True, 1, 1, "it has the end where the text has '\\\\n'"),
            ("a b\néd\na", False, 3, 1, "it has 'a' where the text has the end"),
            ("aa b\néd\n", True, 1, 1, "it has 'a' where the text has the end"),
        ],
    )
    def test_another_text_is_refused_with_its_place(self, tmp_path, content, reverse, line, column, told):
        (tmp_path / "gold").write_bytes(content.encode())
        with pytest.raises(RequestError, match=told) as caught:
            with_file(split("ab\néd\n", reverse=reverse), tmp_path / "gold")
        place = caught.value.place
        assert place is not None
        assert (place.source, place.line, place.column) == (str(tmp_path / "gold"), line, column)

    def test_what_marks_nothing(self, tmp_path):
        (tmp_path / "gold").write_text("ab")
        with pytest.raises(RequestError, match="the file has no space"):
            with_file(split("ab"), tmp_path / "gold")
        with pytest.raises(RequestError, match="there is no file"):
            with_file(split("ab"), tmp_path / "none")
        words = WordVocabulary(["a", "b"])
        with pytest.raises(RequestError, match="the model reads word"):
            with_file(split("a b", words, unit="word"), tmp_path / "gold")
