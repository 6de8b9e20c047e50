"""How often each word of a text occurs, whatever the number of different words."""

from __future__ import annotations

import heapq
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import IO

MEMORY = 32_000_000
"""Bytes that the words and their counts may take before they go to disk."""
FILES = 32
"""Files that lie open at a time."""
_ENTRY = 150
"""Bytes that a word takes beside its characters: its place in the dictionary, and its count."""


class WordCounts:
    """Counts words in memory that does not grow with the number of different ones.

    What grows beyond `MEMORY` goes to a temporary file (in `$TMPDIR`), in order of the words; the files are merged when
    the counts are asked for.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._bytes = 0
        self._files: list[IO[str]] = []

    def add(self, words: Iterable[str]) -> None:
        """Count words, none of which holds white space."""
        before = len(self._counts)
        self._counts.update(words)
        # New words stand at the end.
        new = islice(reversed(self._counts), len(self._counts) - before)
        self._bytes += sum(sys.getsizeof(word) + _ENTRY for word in new)
        if self._bytes > MEMORY:
            if len(self._files) == FILES:
                self._files = [_written(_merged([_read(file) for file in self._files]))]
            self._files.append(_written(sorted(self._counts.items())))
            self._counts, self._bytes = Counter(), 0

    def items(self) -> Iterator[tuple[str, int]]:
        """Each word and how often it was met, in order of the words."""
        return _merged([*(_read(file) for file in self._files), iter(sorted(self._counts.items()))])


def _merged(parts: list[Iterator[tuple[str, int]]]) -> Iterator[tuple[str, int]]:
    for word, same in groupby(heapq.merge(*parts), itemgetter(0)):
        yield word, sum(count for _, count in same)


def _written(items: Iterable[tuple[str, int]]) -> IO[str]:
    file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115 - it lives as long as the counts
    file.writelines(f"{word} {count}\n" for word, count in items)
    return file


def _read(file: IO[str]) -> Iterator[tuple[str, int]]:
    file.seek(0)
    for line in file:
        word, _, count = line.rpartition(" ")
        yield word, int(count)
