"""Folders that appear whole, and sums that are never stale."""

from __future__ import annotations

import gzip
import hashlib
import os

import pytest

from lsseq.data import files
from lsseq.data.files import content, text_sum, whole_folder
from lsseq.data.text import Part, Text


def test_a_folder_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "out"
    with whole_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_nothing(tmp_path):
    def fail() -> None:
        with whole_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_is_kept(tmp_path):
    target = tmp_path / "out"
    with whole_folder(target) as second:
        (second / "a").write_text("second")
        with whole_folder(target) as first:
            (first / "a").write_text("first")
    assert (target / "a").read_text() == "first"


def test_replace_takes_the_place_of_what_is_there(tmp_path):
    target = tmp_path / "out"
    for text in ("old", "new"):
        with whole_folder(target, replace=True) as folder:
            (folder / "a").write_text(text)
    assert (target / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_content_is_of_the_uncompressed_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"hello"))
    assert content(tmp_path / "a") == content(tmp_path / "a.gz")
    assert content(tmp_path / "a").sha256 == hashlib.sha256(b"hello").hexdigest()
    assert content(tmp_path / "a").size == 5


@pytest.fixture
def an_hour_later(monkeypatch):
    """As if files had been left alone for an hour, so that sums are kept."""
    now = files.time.time_ns
    monkeypatch.setattr(files.time, "time_ns", lambda: now() + 3600 * 10**9)


def test_a_kept_sum_is_used_for_an_unchanged_file(tmp_path, monkeypatch, an_hour_later):
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    first = content(path)
    monkeypatch.setattr(files, "chunks", lambda path: pytest.fail("read again"))
    assert content(path) == first


def test_a_change_of_the_same_length_and_date_is_seen(tmp_path, an_hour_later):
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    before, first = path.stat(), content(path)
    path.write_bytes(b"world")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert content(path) != first


def test_a_fresh_file_is_read_each_time(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    content(path)
    monkeypatch.setattr(files, "chunks", lambda path: iter([b"changed"]))
    assert content(path).size == 7


def test_text_sums_know_the_range_and_not_the_place(tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    (tmp_path / "b").write_bytes(b"hello")
    assert text_sum(Text.of(tmp_path / "a")) == text_sum(Text.of(tmp_path / "b"))
    assert text_sum(Text.of(tmp_path / "a")) != text_sum(Text((Part(tmp_path / "a", 1),)))
