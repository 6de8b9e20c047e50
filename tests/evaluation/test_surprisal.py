"""The file with the surprisal of every token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.data.vocabulary import ByteVocabulary, CharVocabulary, Vocabulary
from lsseq.errors import RequestError
from lsseq.evaluation.surprisal import bits, escaped, write_surprisals
from lsseq.evaluation.text import file_split, text_split
from lsseq.recipe.schema import Data


def test_lines(tmp_path: Path) -> None:
    vocabulary = CharVocabulary("\n\t \\aé\u2028")
    path = tmp_path / "surprisal.tsv"
    write_surprisals(path, vocabulary, range(7), np.split(np.log(2) * np.arange(7), [3]))
    assert path.read_bytes().decode() == (
        "\\n\t0.000000\n\\t\t1.000000\n \t2.000000\n\\\\\t3.000000\na\t4.000000\né\t5.000000\n\\u2028\t6.000000\n"
    )


def test_nats_to_bits() -> None:
    np.testing.assert_allclose(bits(np.log([2.0, 8.0])), [1.0, 3.0])


@given(st.text())
def test_an_escaped_token_is_one_field_of_one_line_and_can_be_read_back(text: str) -> None:
    shown = escaped(text)
    assert "\t" not in shown
    assert shown.splitlines() in ([shown], [])
    assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == text


def test_a_text_as_a_split(tmp_path: Path) -> None:
    split = text_split("aé\n", ByteVocabulary(), Data())
    assert (split.tokens.tolist(), split.characters, split.bytes) == ([97, 0xC3, 0xA9, 10], 3, 4)
    path = tmp_path / "raw"
    path.write_bytes(b"a\xff")
    with file_split(path, ByteVocabulary(), Data()) as raw:
        assert (raw.tokens.tolist(), raw.characters, raw.bytes) == ([97, 255], None, 2)


def test_a_text_is_read_as_the_recipe_says(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("a é\nb ".encode())
    with file_split(path, CharVocabulary("\nabé"), Data(strip_spaces=True, reverse=True)) as split:
        assert (split.tokens.tolist(), split.characters, split.bytes) == ([2, 0, 3, 1], 4, 5)
        assert isinstance(split.tokens, np.memmap)
    with pytest.raises(RequestError, match=r"' ' .* at line 1, column 2 is not in the vocabulary"):
        refused(path, CharVocabulary("\nabé"), Data())
    path.write_text("a b\nb  x a")
    with pytest.raises(RequestError, match=r"'x' .* at line 2, column 4 is not in the vocabulary"):
        refused(path, CharVocabulary("\nab"), Data(strip_spaces=True))


def refused(path: Path, vocabulary: Vocabulary, data: Data) -> None:
    with file_split(path, vocabulary, data):
        pytest.fail("the text was read")


def test_faults_of_a_text(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"text is empty"):
        text_split("", ByteVocabulary(), Data())
    with pytest.raises(RequestError) as caught:
        refused(tmp_path / "none.txt", ByteVocabulary(), Data())
    assert caught.value.message == f"there is no file `{tmp_path / 'none.txt'}`"
    path = tmp_path / "text"
    path.write_text("ab\nax")
    with pytest.raises(RequestError) as caught:
        refused(path, CharVocabulary("\nab"), Data())
    assert caught.value.message == "'x' (U+0078) at line 2, column 2 is not in the vocabulary, which has no `<unk>`"
    assert (caught.value.place.source, caught.value.place.line) == (str(path), 2)
