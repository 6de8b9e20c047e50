"""Writing files so that a kill at any moment leaves the old content or the new, never a mixture."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write_new(path: Path, content: bytes) -> None:
    """Write a file that nobody reads yet and force it to the disk; nothing is left behind where that fails."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        try:
            write_all(handle, path, content)
            os.fsync(handle)
        finally:
            os.close(handle)  # on a network file system this may be what tells that the disk is full
    except Exception:
        remove([path])
        raise


def write_all(handle: int, path: Path, content: bytes) -> None:
    """Write to an open file; an error names `path`, which the system's error does not."""
    written = 0
    try:
        with memoryview(content) as rest:
            while written < len(rest):
                written += os.write(handle, rest[written : written + (1 << 26)])
    except OSError as error:
        error.filename = str(path)
        raise


def replace(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path` in one step."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_new(new, content)
    try:
        os.replace(new, path)  # noqa: PTH105 -- see `remove`
    except Exception:
        remove([new])
        raise
    sync(path.parent)


def unfinished(folder: Path) -> list[Path]:
    """What a `replace` that was killed has left in a folder."""
    return [path for path in folder.iterdir() if re.fullmatch(r"\..+\.[0-9a-f]{8}", path.name)]


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    if os.name == "nt":  # Windows has no handle for a folder; its file system keeps a journal of names.
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(paths: Iterable[Path]) -> None:
    """Remove files that are no longer needed; one that is gone or still being read stays as it is."""
    for path in paths:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 -- system calls go through `os` here, so that a test can fail each one
