"""Token arrays on disk."""

from __future__ import annotations

import numpy as np
import pytest

from lsseq.data import text as text_module
from lsseq.data.text import Text
from lsseq.data.tokens import read_tokens, write_tokens
from lsseq.data.vocabulary import ByteVocabulary, CharVocabulary, WordVocabulary
from lsseq.errors import RequestError


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 bytes, so that a short text has many."""
    monkeypatch.setattr(text_module.blocks, "__defaults__", (64,))


def test_many_blocks_give_the_tokens_of_the_whole(tmp_path, small_text, small_blocks):
    content = small_text.read_bytes()
    for vocabulary in (
        CharVocabulary.from_blocks([content]),
        ByteVocabulary(),
        WordVocabulary.from_blocks([content], size=500),
    ):
        written = write_tokens(Text.of(small_text), vocabulary, tmp_path / "t.npy")
        tokens = read_tokens(tmp_path / "t.npy")
        assert isinstance(tokens, np.memmap)
        assert tokens.dtype == vocabulary.dtype
        assert tokens.tolist() == vocabulary.encode_block(content).tolist()
        assert (written.tokens, written.bytes, written.characters) == (len(tokens), len(content), len(content))


def test_bytes_that_are_no_text_have_no_characters(tmp_path):
    (tmp_path / "a").write_bytes(b"abc\xff\xfe\n")
    written = write_tokens(Text.of(tmp_path / "a"), ByteVocabulary(), tmp_path / "t.npy")
    assert (written.tokens, written.characters, written.bytes) == (6, None, 6)


@pytest.mark.parametrize(("size", "dtype"), [(256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.int32)])
def test_the_smallest_type_is_taken(size, dtype):
    vocabulary = WordVocabulary([str(number) for number in range(size)])
    assert vocabulary.dtype == dtype
    assert vocabulary.encode(f"{size - 1}").tolist() == [size - 1]


def test_an_undecodable_byte_is_placed_in_its_file(tmp_path, small_blocks):
    (tmp_path / "a.txt").write_bytes(b"fine\n" * 30)
    (tmp_path / "b.txt").write_bytes(b"fine\n" * 40 + b"ab\xe9cd\n")
    text = Text.of(tmp_path / "a.txt", tmp_path / "b.txt")
    with pytest.raises(RequestError) as caught:
        write_tokens(text, CharVocabulary([*"fineabcd", "\n"]), tmp_path / "t.npy")
    assert str(caught.value) == (
        "error: the byte 0xe9 at offset 202 (line 41) is not UTF-8\n"
        f"  --> {tmp_path / 'b.txt'}:41\n"
        "hint: convert the file to UTF-8, or read it as it is with `data.unit=byte`"
    )


def test_an_unseen_symbol_is_placed_in_its_file(tmp_path, small_blocks):
    (tmp_path / "a.txt").write_bytes(b"fine\n" * 40 + "ne €\n".encode())
    with pytest.raises(RequestError) as caught:
        write_tokens(Text.of(tmp_path / "a.txt"), CharVocabulary(list("fine \n")), tmp_path / "t.npy")
    assert str(caught.value) == (
        "error: '€' (U+20AC) at line 41, column 4 is not in the vocabulary, which has no `<unk>`\n"
        f"  --> {tmp_path / 'a.txt'}:41\n"
        "41 | ne €\n"
        "   |    ^\n"
        "hint: `data.unit=byte` or `data.unit=sentencepiece` can read every text"
    )
