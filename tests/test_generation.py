"""Generation: what is drawn, and how tokens become text that can be shown as it comes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_run import tiny_model

from lsseq.data.vocabulary import ByteVocabulary, CharVocabulary, SentencePieceVocabulary, WordVocabulary
from lsseq.errors import RequestError
from lsseq.generation import generate_tokens, spell


def draw(length: int = 30, prompt: tuple[int, ...] = (), **options: float | int | None) -> list[int]:
    return list(generate_tokens(tiny_model(), prompt, length, **options))  # type: ignore[arg-type]


def test_greedy_takes_the_likeliest_token_each_time() -> None:
    model = tiny_model()
    read, expected = [2, 3, 1], []
    for _ in range(10):
        logits, _ = model.logits(torch.tensor([read]).t())
        expected.append(int(logits[-1, 0].argmax()))
        read.append(expected[-1])
    assert draw(10, (3, 1), start=2, temperature=0.0) == expected
    assert draw(10, (3, 1), start=2, temperature=0.0, seed=5) == expected
    assert draw(10, (3, 1), start=2, temperature=3.0, top_k=1) == expected


def test_a_seed_repeats_the_text_and_nothing_else_decides_it() -> None:
    model = tiny_model()
    first = list(generate_tokens(model, (), 30, seed=1))
    torch.manual_seed(77)
    before = torch.get_rng_state()
    assert list(generate_tokens(model, (), 30, seed=1)) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert list(generate_tokens(model, (), 30, seed=2)) != first


def test_draws_follow_the_distribution() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.output.bias.copy_(torch.arange(7.0) / 2)
    logits, _ = model.logits(torch.tensor([[4]]))
    for temperature in (0.5, 1.0, 2.0):
        p = torch.softmax(logits[0, 0] / temperature, 0).detach().numpy()
        counts = Counter(
            next(generate_tokens(model, (), 1, start=4, temperature=temperature, seed=seed)) for seed in range(2000)
        )
        shares = np.array([counts[token] / 2000 for token in range(7)])
        np.testing.assert_allclose(shares, p, atol=4 * 0.5 / np.sqrt(2000))


def test_top_k_draws_from_the_likeliest_only() -> None:
    model = tiny_model()
    logits, _ = model.logits(torch.tensor([[4]]))
    likeliest = set(logits[0, 0].topk(3).indices.tolist())
    drawn = {next(generate_tokens(model, (), 1, start=4, top_k=3, temperature=5.0, seed=seed)) for seed in range(200)}
    assert drawn == likeliest
    assert len(draw(5, top_k=1000)) == 5


def test_a_tiny_temperature_is_greedy() -> None:
    assert draw(temperature=1e-300) == draw(temperature=0.0)


BYTES = ByteVocabulary()
WORDS = WordVocabulary(["<eos>", "<unk>", "a", "cat", "sat"], "<unk>")
PIECES = SentencePieceVocabulary.train([("the cat sat on the mat. naïve €5\n" * 50).encode()], size=300)


@given(st.lists(st.integers(0, 255), max_size=30))
def test_bytes_as_they_come_are_the_bytes_decoded_at_once(ids: list[int]) -> None:
    parts = list(spell(BYTES, [], ids))
    assert "".join(parts) == bytes(ids).decode("utf-8", errors="replace")
    assert all(parts)


def test_a_character_is_shown_when_it_is_complete() -> None:
    assert list(spell(BYTES, [], "a€b".encode())) == ["a", "€", "b"]
    assert list(spell(BYTES, [], [0xE2, 0x82])) == ["\ufffd"]


@given(st.lists(st.integers(0, 4), max_size=8), st.lists(st.integers(0, 4), max_size=20))
def test_words_keep_their_spaces(prompt: list[int], ids: list[int]) -> None:
    whole, known = WORDS.decode([*prompt, *ids]), WORDS.decode(prompt)
    assert known + "".join(spell(WORDS, prompt, ids)) == whole


@settings(deadline=None)
@example("", "\u2581")
@example("\u2581", "\U0010fffd0\u2581a")
@given(st.text(max_size=20), st.text(max_size=20))
def test_pieces_give_the_text_back(prompt: str, text: str) -> None:
    known, ids = (PIECES.encode(part).tolist() for part in (prompt, text))
    assert "".join(spell(PIECES, known, ids)) == text


def test_characters_come_one_by_one() -> None:
    vocabulary = CharVocabulary("\nab")
    assert list(spell(vocabulary, [1], [1, 2, 0])) == ["a", "b", "\n"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.5}, "the temperature must be 0 or more (got -0.5)"),
        ({"temperature": float("nan")}, "the temperature must be 0 or more (got nan)"),
        ({"top_k": 0}, "top_k must be 1 or more (got 0)"),
    ],
)
def test_options_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        draw(**options)
    assert (caught.value.message, caught.value.exit_code) == (message, 2)


@pytest.mark.parametrize("length", [1, 4])
def test_length(length: int) -> None:
    assert len(draw(length)) == length
