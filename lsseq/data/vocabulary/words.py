"""Words: what white space separates."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lsseq.data.counting import WordCounts
from lsseq.data.text import decode
from lsseq.data.vocabulary.base import Ids, ListedVocabulary, UnseenError

END = "<eos>"
UNKNOWN = "<unk>"

_WORD_OR_END = re.compile(r"[^\S\n]*(\S+|\n)")


class WordVocabulary(ListedVocabulary):
    """Words separated by white space, and `<eos>` for each line feed.

    Where `<eos>` is not among the tokens, line feeds are white space. A word outside the list is read as `unknown`.
    Spelled in the text, `<eos>` and `<unk>` are those same tokens, as in the corpora of Mikolov and Merity.

    Args:
        tokens: see `ListedVocabulary`.
        unknown: see `ListedVocabulary`.
    """

    unit = "word"
    lossless = False

    def __init__(self, tokens: Sequence[str], unknown: str | None = None) -> None:
        super().__init__(tokens, unknown)
        self.start = self.ids.get(END)

    @classmethod
    def from_blocks(cls, blocks: Iterable[bytes], *, size: int | None = None, minimum: int = 1) -> WordVocabulary:
        """Count the words of a text and keep the most frequent.

        The order is by count, the largest first, and among equals by the token. `<eos>` and `<unk>` are always kept and
        stand in that order too; `<unk>` counts what is read as it.

        Args:
            blocks: as `lsseq.data.text.blocks` cuts them.
            size: the largest number of tokens, with `<eos>` and `<unk>`. Without it the words that are kept are held in
                memory, however many they are.
            minimum: words that occur less often are read as `<unk>`.

        Raises:
            UndecodableError: a byte is not UTF-8.
        """
        counts = WordCounts()
        for block in blocks:
            counts.add(_split(decode(block)))
        return cls._of_counts(counts, size, minimum)

    @classmethod
    def from_iterator(cls, lines: Iterable[str], *, size: int | None = None, minimum: int = 1) -> WordVocabulary:
        """The same for any iterable of lines, such as a torchtext data set; each line ends with one `<eos>`."""
        counts = WordCounts()
        for line in lines:
            counts.add(_split(line.rstrip("\n") + "\n"))
        return cls._of_counts(counts, size, minimum)

    @classmethod
    def _of_counts(cls, counts: WordCounts, size: int | None, minimum: int) -> WordVocabulary:
        special = {END: 0, UNKNOWN: 0}
        total = 0

        def frequent() -> Iterator[tuple[int, str]]:
            nonlocal total
            for word, count in counts.items():
                if word in special:
                    special[word] = count
                    continue
                total += count
                if count >= minimum:
                    yield -count, word

        if size is None:
            kept = sorted(frequent())
        else:
            room = max(size - len(special), 0)
            # Asked for none, `nsmallest` would not go through them.
            kept = heapq.nsmallest(room + 1, frequent())[:room]
        special[UNKNOWN] += total + sum(negative for negative, _ in kept)
        kept += [(-count, word) for word, count in special.items()]
        return cls([word for _, word in sorted(kept)], UNKNOWN)

    def encode_block(self, block: bytes) -> Ids:
        text = decode(block)
        words = _split(text) if self.start is not None else text.split()
        if self.unknown is None:
            try:
                return np.fromiter((self.ids[word] for word in words), np.int32, len(words))
            except KeyError as missing:
                raise UnseenError(self._offset(text, missing.args[0]), missing.args[0]) from None
        get, unknown = self.ids.get, self.ids[self.unknown]
        return np.fromiter((get(word, unknown) for word in words), np.int32, len(words))

    @staticmethod
    def _offset(text: str, word: str) -> int:
        found = next(match.start(1) for match in _WORD_OR_END.finditer(text) if match[1] == word)
        return len(text[:found].encode())

    def decode(self, ids: Iterable[int]) -> str:
        """The words with a space between them, and a line feed for each `<eos>`."""
        text, space = [], ""
        for index in ids:
            ends = index == self.start
            text.append("\n" if ends else space + self.tokens[index])
            space = "" if ends else " "
        return "".join(text)


def _split(text: str) -> list[str]:
    return text.replace("\n", f" {END} ").split()
