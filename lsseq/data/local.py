"""Own text: a file, a folder, a list of files, or one file a split."""

from __future__ import annotations

from pathlib import Path

from lsseq.data.files import content
from lsseq.data.text import Part, Text, chunks
from lsseq.errors import nearest
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import TextSplits

SUFFIXES = (".txt", ".md", ".txt.gz", ".md.gz")
"""What is read of a folder."""

SHARES = (0.90, 0.95)
"""Where a text without splits is cut into train, valid and test."""


def local_texts(chosen: str | list[str] | TextSplits) -> dict[str, Text]:
    """The splits of `data.text`.

    A folder stands for its .txt and .md files (also .gz), those of its subfolders too, in the order of their paths.
    Several files are one text, joined with nothing between them. A text without splits is cut in order after 90 and
    95 % of its bytes, moved on to the next character where that would cut one in two.

    Raises:
        KeyFault: a file is missing, or a folder has none to read.
    """
    if isinstance(chosen, TextSplits):
        named = {"train": chosen.train, "valid": chosen.valid, "test": chosen.test}
        return {
            split: Text.of(*_files(f"data.text.{split}", path)) for split, path in named.items() if path is not None
        }
    paths = [chosen] if isinstance(chosen, str) else chosen
    return cut([file for path in paths for file in _files("data.text", path)])


def _files(key: str, name: str) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.name.lower().endswith(SUFFIXES) and file.is_file())
        if not found:
            raise KeyFault(key, f"the folder {path} has no file to read", hint="read are " + ", ".join(SUFFIXES))
        return found
    beside = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest(path.name, beside)
    raise KeyFault(key, f"there is no file or folder {path}", suggestion=near)


def cut(paths: list[Path]) -> dict[str, Text]:
    """The files as one text, cut 90/5/5 in order."""
    sizes = [content(path).size for path in paths]
    total = sum(sizes)
    marks = [0, *(_character_start(paths, sizes, int(total * share)) for share in SHARES), total]
    return {
        split: Text(tuple(_parts(paths, sizes, marks[i], marks[i + 1])))
        for i, split in enumerate(("train", "valid", "test"))
    }


def _parts(paths: list[Path], sizes: list[int], start: int, end: int) -> list[Part]:
    parts, begin = [], 0
    for path, size in zip(paths, sizes, strict=True):
        first, last = max(start - begin, 0), min(end - begin, size)
        if first < last:
            parts.append(Part(path, first, last))
        begin += size
    return parts


def _character_start(paths: list[Path], sizes: list[int], mark: int) -> int:
    """The first offset from `mark` on at which no UTF-8 sequence goes on (it has at most three bytes more)."""
    ahead = b"".join(
        chunk for part in _parts(paths, sizes, mark, mark + 4) for chunk in chunks(part.path, part.start, part.end)
    )
    for skipped, byte in enumerate(ahead):
        if byte & 0xC0 != 0x80:
            return mark + skipped
    # The end of the text; or four bytes that go on with nothing, so that it is not UTF-8.
    return mark + len(ahead) if len(ahead) < 4 else mark
