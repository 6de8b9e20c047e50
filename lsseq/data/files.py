"""Files that appear whole or not at all, and sums of file contents that are computed once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lsseq.data.text import Text, chunks
from lsseq.json_text import parse_json
from lsseq.resources import data_folder


@contextlib.contextmanager
def whole_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes `target` when the block ends without an error.

    A block that removes the folder gives it up. Several processes may do so at once: a target that is there in the
    meantime is kept, or with `replace` moved out of the way first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        if not folder.exists():
            return
        folder.chmod(0o755)
        if replace and target.exists():
            with contextlib.suppress(FileNotFoundError):
                target.rename(folder.with_suffix(".old"))
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        for left in (folder, folder.with_suffix(".old")):
            shutil.rmtree(left, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)


@dataclass(frozen=True)
class Content:
    """The uncompressed bytes of a file."""

    sha256: str
    size: int


def content(path: Path) -> Content:
    """Sum and number of a file's uncompressed bytes.

    They are kept, and used again only while the file's size, number and times of last change (of its content and of its
    entry, the latter of which no program can set) are the same, and only if the file had not been touched in the two
    seconds before it was read, so that no change within the grain of the clock goes unnoticed.
    """
    path = path.resolve()
    kept = data_folder() / "sums" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
    state = _state(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = parse_json(kept.read_text(encoding="utf-8"))
        if known["state"] == state:
            return Content(known["sha256"], known["size"])
    began = time.time_ns()
    digest, size = hashlib.sha256(), 0
    for chunk in chunks(path):
        digest.update(chunk)
        size += len(chunk)
    found = Content(digest.hexdigest(), size)
    settled = began - max(state[1:3]) > 2_000_000_000
    if settled and _state(path) == state:
        write_whole(kept, json.dumps({"path": str(path), "state": state, **asdict(found)}))
    return found


def text_sum(text: Text) -> str:
    """A sum that is equal for equal parts of equal files, wherever they lie."""
    parts = [[content(part.path).sha256, part.start, part.end] for part in text.parts]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
