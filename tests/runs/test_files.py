"""Files are replaced whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lsseq.runs.files import replace, write_new


def test_replace(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"one", b"two"):
        replace(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_write_new_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_new(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_replacement_that_fails_leaves_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        replace(folder, b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_fails_when_it_is_closed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = os.close

    def full(handle: int) -> None:
        close(handle)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "close", full)
    with pytest.raises(OSError, match="quota"):
        write_new(tmp_path / "x", b"new")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
