"""Downloads that go on where they were cut off, and members of archives."""

from __future__ import annotations

import contextlib
import errno
import http.client
import lzma
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

TIMEOUT = 30.0
"""Seconds without an answer or a byte."""

ATTEMPTS = 5
"""Connections that may end one after the other without a single byte."""

_CHUNK = 1 << 18


class FetchError(Exception):
    """This address did not give the file."""


class Progress(Protocol):
    """Told how far a download is."""

    def __call__(self, done: int, total: int | None) -> None: ...


def download(url: str, target: Path, *, largest: int, progress: Progress) -> None:
    """Fetch a file. What came before an interruption is kept as `target`.part and not fetched again.

    The server is asked to go on only with the same content: where it gave an ETag or a date, both are sent back
    (`If-Range`), and where the content has changed the whole of it comes anew.

    Raises:
        FetchError: the server refuses, or the connection fails too often, or there are more than `largest` bytes.
    """
    part, mark = target.with_name(target.name + ".part"), target.with_name(target.name + ".part.from")
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _receive(url, part, mark, largest, progress):
                part.replace(target)
                mark.unlink(missing_ok=True)
                return
            reason = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise FetchError(f"HTTP {error.code} {error.reason}") from error
            part.unlink(missing_ok=True)
            reason = "the server does not know that part"
        except urllib.error.URLError as error:
            raise FetchError(str(error.reason)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            reason = str(error) or type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        failures = 0 if after > before else failures + 1
        if failures == ATTEMPTS:
            raise FetchError(reason)


def _receive(url: str, part: Path, mark: Path, largest: int, progress: Progress) -> bool:
    """One connection; whether the file is whole."""
    request = urllib.request.Request(url, headers={"User-Agent": "lsseq", "Accept-Encoding": "identity"})
    have = part.stat().st_size if part.exists() else 0
    origin, _, validator = (mark.read_text(encoding="utf-8") if mark.exists() else "").partition("\n")
    if have and origin == url:
        request.add_header("Range", f"bytes={have}-")
        if validator:
            request.add_header("If-Range", validator)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.status != http.client.PARTIAL_CONTENT:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        # A weak ETag does not promise the same bytes.
        tag = response.headers.get("ETag") or ""
        validator = (tag if not tag.startswith("W/") else "") or response.headers.get("Last-Modified") or ""
        mark.write_text(f"{url}\n{validator}", encoding="utf-8")
        with part.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK):
                have += len(chunk)
                if have > largest:
                    part.unlink()
                    raise FetchError(f"it has more than {largest:,} bytes")
                file.write(chunk)
                progress(have, total)
    return total is None or have == total


_BROKEN = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error)


def extract(archive: Path, member: str, target: Path, *, largest: int) -> None:
    """Write one file of a .zip or tar archive to `target`.

    Only a regular file of exactly that name is read, and nothing is written but `target`.

    Raises:
        FetchError: the archive is damaged, has no such file, or the file has more than `largest` bytes.
    """
    if PurePosixPath(member).is_absolute() or ".." in PurePosixPath(member).parts:
        raise FetchError(f"{member} is not a name inside an archive")
    try:
        with _member(archive, member) as file, target.open("wb") as out:
            shutil.copyfileobj(_Limited(file, largest), out, _CHUNK)
    except KeyError:
        raise FetchError(f"{archive.name} has no file {member}") from None
    except (OSError, EOFError, ValueError, *_BROKEN, RuntimeError) as error:
        raise FetchError(f"{archive.name} is damaged: {error}") from error


@contextlib.contextmanager
def _member(archive: Path, member: str) -> Iterator[BinaryIO]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed, packed.open(member) as file:
            yield cast(BinaryIO, file)
        return
    with tarfile.open(archive) as tape:
        found = next((info for info in tape if PurePosixPath(info.name) == PurePosixPath(member)), None)
        content = tape.extractfile(found) if found is not None and found.isreg() else None
        if content is None:
            raise KeyError(member)
        with content:
            yield cast(BinaryIO, content)


class _Limited:
    """A file that refuses to give more than so many bytes, whatever the archive says of its size."""

    def __init__(self, file: BinaryIO, largest: int) -> None:
        self._file, self._left = file, largest

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise FetchError("a file of the archive is larger than it should be")
        return data


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar on standard error where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _silent(done: int, total: int | None) -> None:
    """No bar."""
