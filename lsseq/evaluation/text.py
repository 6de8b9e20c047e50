"""Any text, measured as a split of a corpus is."""

from __future__ import annotations

from pathlib import Path

from lsseq.data import Split, Vocabulary
from lsseq.data.text import chunks, count_characters
from lsseq.errors import RequestError


def text_split(text: str | bytes, vocabulary: Vocabulary, source: str = "text") -> Split:
    """The tokens of a text in memory.

    Raises:
        RequestError: it is empty, or holds what the vocabulary cannot read; the place is given in `source`.
    """
    tokens = vocabulary.encode(text, source)
    if len(tokens) == 0:
        raise RequestError(f"{source} is empty")
    whole = text.encode("utf-8", errors="surrogatepass") if isinstance(text, str) else text
    return Split(tokens, _characters(whole), len(whole))


def file_split(path: Path, vocabulary: Vocabulary) -> Split:
    """The tokens of a text file, plain or .gz.

    Raises:
        RequestError: there is no such file, and as `text_split`.
    """
    if not path.is_file():
        raise RequestError(f"there is no file `{path}`")
    return text_split(b"".join(chunks(path)), vocabulary, str(path))


def _characters(text: bytes) -> int | None:
    try:
        text.decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        return None
    return count_characters(text)
