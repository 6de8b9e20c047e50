"""Text from a random lexicon of two levels: letters make words, words make phrases, and phrases follow each other
independently. Its units and its entropy are known exactly.

Every draw comes from `random.Random(seed).random`, whose sequence is the same in every version of Python.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lsseq.data.corpus import EntropyRate


@dataclass(frozen=True)
class Lexicon:
    """Phrases and their probabilities.

    Phrases are written with one space between words and two behind the phrase.
    """

    phrases: tuple[tuple[str, ...], ...]
    """Each a sequence of words, all different."""
    probabilities: tuple[float, ...]
    """Of the phrases; they add up to 1."""

    @classmethod
    def drawn(
        cls,
        seed: int,
        *,
        letters: str,
        words: int,
        word_lengths: tuple[int, int],
        phrases: int,
        phrase_lengths: tuple[int, int],
    ) -> Lexicon:
        """A random lexicon; the n-th phrase drawn has a probability proportional to 1 / n (Zipf).

        Args:
            seed: of the draws.
            letters: of which words are made, each with the same probability.
            words: how many different ones there are.
            word_lengths: shortest and longest, in letters, every length with the same probability.
            phrases: how many different ones there are.
            phrase_lengths: shortest and longest, in words, every length with the same probability.
        """
        draws = random.Random(seed)
        lexicon = _different(draws, letters, words, word_lengths)
        chosen = _different(draws, ["".join(word) for word in lexicon], phrases, phrase_lengths)
        total = sum(1 / rank for rank in range(1, phrases + 1))
        return cls(tuple(chosen), tuple(1 / rank / total for rank in range(1, phrases + 1)))

    def entropy_rate(self) -> EntropyRate:
        """H(phrase) / E[length of a phrase], in bits a symbol.

        Phrases are independent, so n of them carry n · H(phrase) bits. Without spaces this is the entropy of the text
        where no two sequences of phrases spell the same text; else the text carries less, and it is an upper bound.
        With spaces the phrases can always be told apart.
        """
        bits = -sum(p * math.log2(p) for p in self.probabilities)
        spelled = ["".join(phrase) for phrase in self.phrases]
        written = [" ".join(phrase) + "  " for phrase in self.phrases]
        return EntropyRate(bits / self._mean(spelled), bits / self._mean(written), uniquely_decodable(spelled))

    def _mean(self, texts: Sequence[str]) -> float:
        return sum(p * len(text) for p, text in zip(self.probabilities, texts, strict=True))

    def text(self, seed: int, symbols: int) -> Iterator[str]:
        """Phrases until there are at least so many letters."""
        draws = random.Random(seed)
        bounds = list(accumulate(self.probabilities))
        while symbols > 0:
            # The sum of the probabilities may miss 1 by a rounding error.
            phrase = self.phrases[min(bisect_right(bounds, draws.random()), len(bounds) - 1)]
            symbols -= sum(map(len, phrase))
            yield " ".join(phrase) + "  "


def _different(
    draws: random.Random, parts: Sequence[str], count: int, lengths: tuple[int, int]
) -> list[tuple[str, ...]]:
    """So many different sequences of parts."""
    found: dict[tuple[str, ...], None] = {}
    while len(found) < count:
        length = lengths[0] + int(draws.random() * (lengths[1] - lengths[0] + 1))
        found[tuple(parts[int(draws.random() * len(parts))] for _ in range(length))] = None
    return list(found)


def uniquely_decodable(code: Sequence[str]) -> bool:
    """Whether no two different sequences of code words spell the same text (Sardinas & Patterson 1953).

    Two spellings of one text, read side by side, leave one ahead of the other by a rest. All rests that can arise are
    followed; the code is ambiguous where a rest is itself a code word, since then both end together.
    """
    words = set(code)
    if len(words) < len(code) or "" in words:
        return False
    longer: dict[str, list[str]] = {}
    for word in words:
        for cut in range(1, len(word)):
            longer.setdefault(word[:cut], []).append(word[cut:])
    rests = [rest for word in words for rest in longer.get(word, [])]
    met: set[str] = set()
    while rests:
        rest = rests.pop()
        if rest in words:
            return False
        if rest in met:
            continue
        met.add(rest)
        # The spelling behind takes a word that passes the rest, or one that stays behind.
        rests += longer.get(rest, [])
        rests += [rest[cut:] for cut in range(1, len(rest)) if rest[:cut] in words]
    return True
