"""Any text, measured as a split of a corpus is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lsseq.data import Split, Vocabulary, open_file, read_text
from lsseq.errors import RequestError
from lsseq.recipe.schema import Data


def text_split(text: str | bytes, vocabulary: Vocabulary, data: Data, source: str = "text") -> Split:
    """A text in memory, read as the recipe of the model reads its own.

    Raises:
        RequestError: it is empty, or holds what the vocabulary cannot read; the place is given in `source`.
    """
    return _filled(read_text(text, vocabulary, data, source), source)


@contextlib.contextmanager
def file_split(path: Path, vocabulary: Vocabulary, data: Data) -> Iterator[Split]:
    """The same for a text file, plain or .gz, which is on disk until the block ends.

    Raises:
        RequestError: there is no such file, and as `text_split`.
    """
    with open_file(path, vocabulary, data) as split:
        yield _filled(split, str(path))


def _filled(split: Split, source: str) -> Split:
    if len(split.tokens) == 0:
        raise RequestError(f"{source} is empty")
    return split
