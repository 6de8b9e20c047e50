"""Words are counted the same whether they fit into memory or not."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.data import counting
from lsseq.data.counting import WordCounts
from lsseq.data.vocabulary import WordVocabulary

WORDS = st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]), min_size=1, max_size=3)


@given(st.lists(st.lists(WORDS, max_size=8), max_size=20), st.sampled_from([0, 400, 1 << 30]), st.integers(1, 3))
def test_the_counts_are_those_of_a_counter(parts: list[list[str]], memory: int, files: int) -> None:
    counts = WordCounts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "MEMORY", memory)
        patch.setattr(counting, "FILES", files)
        for part in parts:
            counts.add(part)
    expected = Counter(word for part in parts for word in part)
    assert list(counts.items()) == sorted(expected.items())
    assert list(counts.items()) == sorted(expected.items())


def test_many_different_words_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MEMORY", 1_000_000)
    tracemalloc.start()
    try:
        counts = WordCounts()
        for start in range(0, 200_000, 1000):
            counts.add(map(str, range(start, start + 1000)))
        assert sum(1 for _ in counts.items()) == 200_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # In one dictionary they take 25 MB.
    assert peak < 5_000_000


def by_hand(text: str, size: int | None, minimum: int) -> list[str]:
    """The vocabulary as its docstring says."""
    counts = Counter(text.replace("\n", " <eos> ").split())
    words = [word for word, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if word[0] != "<"]
    kept = [word for word in words[: None if size is None else max(0, size - 2)] if counts[word] >= minimum]
    rank = {word: counts[word] for word in kept} | {"<eos>": counts["<eos>"]}
    rank["<unk>"] = counts["<unk>"] + sum(counts[word] for word in words if word not in kept)
    return sorted(rank, key=lambda word: (-rank[word], word))


@given(
    words=st.lists(st.sampled_from(["a", "b", "cc", "d", "é", "<unk>", "<eos>", "\n"]), max_size=40),
    size=st.none() | st.integers(1, 8),
    minimum=st.integers(1, 4),
    memory=st.sampled_from([0, 1 << 30]),
)
def test_the_most_frequent_words(words: list[str], size: int | None, minimum: int, memory: int) -> None:
    text = " ".join(words)
    blocks = [f"{word} ".encode() for word in words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "MEMORY", memory)
        vocabulary = WordVocabulary.from_blocks(blocks, size=size, minimum=minimum)
    assert list(vocabulary.tokens) == by_hand(text, size, minimum)
