"""Any text, measured as a split of a corpus is."""

from __future__ import annotations

from pathlib import Path

from lsseq.data import Split, Vocabulary, read_text
from lsseq.data.text import chunks
from lsseq.errors import RequestError
from lsseq.recipe.schema import Data


def text_split(text: str | bytes, vocabulary: Vocabulary, data: Data, source: str = "text") -> Split:
    """A text in memory, read as the recipe of the model reads its own.

    Raises:
        RequestError: it is empty, or holds what the vocabulary cannot read; the place is given in `source`.
    """
    split = read_text(text, vocabulary, data, source)
    if len(split.tokens) == 0:
        raise RequestError(f"{source} is empty")
    return split


def file_split(path: Path, vocabulary: Vocabulary, data: Data) -> Split:
    """The same for a text file, plain or .gz.

    Raises:
        RequestError: there is no such file, and as `text_split`.
    """
    if not path.is_file():
        raise RequestError(f"there is no file `{path}`")
    return text_split(b"".join(chunks(path)), vocabulary, data, str(path))
