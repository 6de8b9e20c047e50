"""Text in blocks, exactly as it stands."""

from __future__ import annotations

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.data.text import Part, Text, UndecodableError, blocks, chunks, count_characters, decode, place_in
from lsseq.errors import RequestError


def test_bytes_are_read_as_they_stand(tmp_path):
    content = b"\xef\xbb\xbfone\r\ntwo\rthree\x00\n\nlast"
    (tmp_path / "a.txt").write_bytes(content)
    with gzip.open(tmp_path / "a.txt.gz", "wb") as file:
        file.write(content)
    assert b"".join(chunks(tmp_path / "a.txt")) == content
    assert b"".join(chunks(tmp_path / "a.txt.gz")) == content
    assert b"".join(chunks(tmp_path / "a.txt.gz", 4, 9, size=2)) == content[4:9]


def test_parts_are_joined_with_nothing_between(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"defg")
    text = Text((Part(tmp_path / "a", 1), Part(tmp_path / "b", 0, 2)))
    assert b"".join(text.blocks()) == b"bcde"
    assert text.size() == 4
    assert text.locate(1) == (tmp_path / "a", 2)
    assert text.locate(3) == (tmp_path / "b", 1)


@given(
    text=st.text(alphabet="ab \né漢😀\r", max_size=120),
    size=st.integers(4, 12),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)
def test_blocks_lose_nothing_and_cut_no_character(text, size, cuts):
    data = text.encode()
    marks = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = list(blocks([data[a:b] for a, b in itertools.pairwise(marks)], size))
    assert b"".join(found) == data
    assert "".join(decode(block) for block in found) == text
    assert found == list(blocks([data], size))
    assert all(0 < len(block) <= size for block in found)


def test_blocks_end_after_a_line_or_else_a_space():
    assert list(blocks([b"ab\ncd\nefg h"], 8)) == [b"ab\ncd\n", b"efg h"]
    assert list(blocks([b"ab cd efgh"], 8)) == [b"ab cd ", b"efgh"]


def test_blocks_go_on_where_nothing_is_utf8():
    assert list(blocks([b"\x80" * 10], 4)) == [b"\x80" * 4, b"\x80" * 4, b"\x80" * 2]


@given(st.text())
def test_characters_are_code_points(text):
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    assert count_characters(data) == len(text)


def test_decode_says_which_byte():
    with pytest.raises(UndecodableError) as caught:
        decode("é".encode() + b"a\xffb")
    assert (caught.value.offset, caught.value.byte) == (3, 0xFF)


def test_place_counts_lines_and_characters():
    place = place_in("one\ntwé x\n".encode(), len("one\ntwé ".encode()), "here")
    assert (place.source, place.line, place.column, place.text) == ("here", 2, 5, "twé x")


def test_the_line_of_a_place_is_not_shown_where_it_is_endless(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    place = Text.of(tmp_path / "a").place(2_500_000)
    assert (place.line, place.column, place.text) == (1, 2_500_001, None)


@pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: data[:20] + b"\0\0\0\0" + data[24:]])
def test_a_damaged_gzip_file_is_named(tmp_path, damage):
    path = tmp_path / "a.gz"
    path.write_bytes(damage(gzip.compress(b"some text " * 100)))
    with pytest.raises(RequestError, match="the gzip file is damaged") as caught:
        list(chunks(path))
    assert caught.value.place is not None
    assert caught.value.place.source == str(path)
