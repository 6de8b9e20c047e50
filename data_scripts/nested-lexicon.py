"""Nonsense with known structure: letters make words, words make phrases, and phrases follow each other independently.

Made here from a seed, the same everywhere. One space ends a word, two end a phrase: they are the gold of both levels,
and `data.strip_spaces` takes them out. There are no lines. The entropy rate tells how far a model is from the optimum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lsseq.data.corpus import Corpus, Splits
from lsseq.data.lexicon import Lexicon
from lsseq.data.report import script

LEXICON = Lexicon.drawn(
    1,
    letters="abcdefghijklmnop",
    words=60,
    word_lengths=(2, 5),
    phrases=300,
    phrase_lengths=(2, 4),
)
SYMBOLS = {"train": 500_000, "valid": 50_000, "test": 50_000}
"""Letters of each split, and what the last phrase has more."""


def prepare(_: Mapping[str, Path]) -> Splits:
    return {split: _encoded(seed, symbols) for seed, (split, symbols) in enumerate(SYMBOLS.items())}


def _encoded(seed: int, symbols: int) -> Iterator[bytes]:
    return (phrase.encode() for phrase in LEXICON.text(seed, symbols))


CORPUS = Corpus(
    name="nested-lexicon",
    description="Random words in random phrases, with the true ends of both and the entropy rate: nothing to download",
    licence="public domain",
    citation="none",
    prepare=prepare,
    levels=("words", "phrases"),
    entropy_rate=LEXICON.entropy_rate(),
)

if __name__ == "__main__":
    script(CORPUS)
