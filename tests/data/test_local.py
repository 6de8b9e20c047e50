"""Own text: files, folders, lists, splits."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.data.local import cut, local_texts
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import TextSplits


def read(text) -> bytes:
    return b"".join(text.chunks())


def test_a_file_is_cut_in_order(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(97, 117)) * 10)
    texts = local_texts(str(path))
    assert {split: len(read(text)) for split, text in texts.items()} == {"train": 180, "valid": 10, "test": 10}
    assert b"".join(map(read, texts.values())) == path.read_bytes()


@settings(max_examples=50, deadline=None)
@given(contents=st.lists(st.text(alphabet="aé漢😀\n", max_size=30), min_size=1, max_size=4))
def test_no_character_is_cut_in_two(contents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    paths = [folder / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content.encode())
    texts = cut(paths)
    assert "".join(read(text).decode() for text in texts.values()) == "".join(contents)


def test_a_folder_is_its_text_files_in_the_order_of_their_paths(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, content in {"b.txt": "B", "a.md": "A", "sub/c.txt": "C", "z.py": "no", "d.TXT.gz": "D"}.items():
        data = content.encode() * 10
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    texts = local_texts(str(tmp_path))
    assert b"".join(map(read, texts.values())) == b"A" * 10 + b"B" * 10 + b"D" * 10 + b"C" * 10


def test_a_list_keeps_its_order(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name * 10)
    texts = local_texts([str(tmp_path / "b"), str(tmp_path / "a")])
    assert read(texts["train"]) == b"b" * 10 + b"a" * 8


def test_named_splits_are_taken_whole(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).write_text(name)
    texts = local_texts(TextSplits(train=str(tmp_path / "x"), valid=str(tmp_path / "y")))
    assert {split: read(text) for split, text in texts.items()} == {"train": b"x", "valid": b"y"}


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(KeyFault, match=r"there is no file or folder .*note\.txt") as caught:
        local_texts(str(tmp_path / "note.txt"))
    assert caught.value.key == "data.text"
    assert caught.value.suggestion == "did you mean `notes.txt`?"
    with pytest.raises(KeyFault) as caught:
        local_texts(TextSplits(train=str(tmp_path / "notes.txt"), valid="nowhere/valid.txt"))
    assert caught.value.key == "data.text.valid"


def test_a_folder_without_text(tmp_path):
    (tmp_path / "a.py").write_text("x")
    with pytest.raises(KeyFault, match="has no file to read") as caught:
        local_texts(str(tmp_path))
    assert caught.value.hint == "read are .txt, .md, .txt.gz, .md.gz"
