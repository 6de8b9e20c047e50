"""A trained model in Python."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny_run import make_run, tiny_recipe

import lsseq
from lsseq.api import TrainedModel
from lsseq.errors import RequestError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> TrainedModel:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    make_run(folder, tiny_recipe(small_text), scale=10)
    return lsseq.load(folder, device="cpu")


TEXT = "The statement binds a name.\n"


def test_what_it_holds(trained: TrainedModel) -> None:
    assert not trained.model.training
    assert trained.vocabulary.unit == "char"
    assert trained.recipe.model.hidden == 16
    assert trained.device == torch.device("cpu")


def test_the_measures_of_a_text_agree(trained: TrainedModel) -> None:
    surprisal = trained.surprisal(TEXT)
    assert "".join(token for token, _ in surprisal) == TEXT
    bits = sum(cost for _, cost in surprisal)
    assert trained.bits_per_character(TEXT) == pytest.approx(bits / len(TEXT), rel=1e-9)
    assert trained.perplexity(TEXT) == pytest.approx(2 ** (bits / len(TEXT)), rel=1e-9)
    assert trained.perplexity(TEXT.encode()) == trained.perplexity(TEXT)


def test_evaluate_a_split(trained: TrainedModel) -> None:
    values = trained.evaluate("test")
    assert values["perplexity"] == math.exp(values["nll"])
    assert values["split"] == "test"
    assert values["mode"] == "deterministic"
    assert values["protocol"] == "state carried, 1 stream"
    assert values["tokens"] == values["characters"] > 500
    assert trained.evaluate("test", streams=4)["protocol"] == "state carried, 4 streams, each from the initial state"
    assert trained.evaluate("test", mode="cache")["mode"] == "cache"


def test_dynamic_evaluation_leaves_the_model_as_it_was(trained: TrainedModel) -> None:
    static = trained.evaluate("test")["nll"]
    dynamic = trained.evaluate("test", mode="dynamic")
    assert dynamic["mode"] == "dynamic"
    assert dynamic["nll"] < static
    assert trained.evaluate("test")["nll"] == static


def test_generate(trained: TrainedModel) -> None:
    text = trained.generate("The ", length=40, seed=3)
    assert len(text) == 40
    assert trained.generate("The ", length=40, seed=3) == text
    assert trained.generate("The ", length=40) != trained.generate("The ", length=40)
    assert trained.generate(length=5, temperature=0) == trained.generate(length=5, temperature=0, seed=1)


def test_faults(trained: TrainedModel, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not in the vocabulary") as caught:
        trained.generate("né")
    assert caught.value.place is not None
    assert caught.value.place.source == "prompt"
    with pytest.raises(RequestError, match="text is empty"):
        trained.perplexity("")
    with pytest.raises(RequestError, match=r"unknown mode `clever`; known: deterministic, dynamic, cache"):
        trained.evaluate(mode="clever")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="the text has no split `final`; it has train, valid, test"):
        trained.evaluate("final")
    with pytest.raises(RequestError, match="there is no run"):
        lsseq.load(tmp_path / "none")


def test_words_have_no_bits_per_character(tmp_path: Path, small_text: Path) -> None:
    make_run(tmp_path / "run", tiny_recipe(small_text, data={"unit": "word"}))
    words = lsseq.load(tmp_path / "run", device="cpu")
    assert words.perplexity("the cat sat on the mat") > 1
    with pytest.raises(RequestError) as caught:
        words.bits_per_character("the cat")
    assert caught.value.message == "bits per character are undefined: the units (word) do not give the text back"


@pytest.mark.parametrize("unit", ["byte", "sentencepiece"])
def test_every_lossless_unit(unit: str, tmp_path: Path, small_text: Path) -> None:
    make_run(
        tmp_path / "run",
        tiny_recipe(small_text, data={"unit": unit, "vocabulary_size": 400 if unit == "sentencepiece" else None}),
    )
    trained = lsseq.load(tmp_path / "run", device="cpu")
    text = "naïve €5\n"
    bits = sum(cost for _, cost in trained.surprisal(text))
    assert trained.bits_per_character(text) == pytest.approx(bits / len(text), rel=1e-9)
    assert isinstance(trained.generate("nä", length=10), str)


def test_dynamic_and_cache_carry_the_state_whatever_the_pieces(tmp_path: Path, small_text: Path) -> None:
    make_run(tmp_path / "run", tiny_recipe(small_text, evaluation={"pieces": 20}))
    trained = lsseq.load(tmp_path / "run", device="cpu")
    assert trained.evaluate()["protocol"] == "pieces of 20, each from the initial state"
    assert trained.evaluate(mode="cache")["protocol"] == "state carried, 1 stream"


def test_a_run_reads_changed_text_with_its_own_vocabulary(tmp_path: Path, small_text: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(small_text.read_bytes())
    make_run(tmp_path / "run", tiny_recipe(text))
    size = len(lsseq.load(tmp_path / "run", device="cpu").vocabulary)
    text.write_bytes(b"aaabbb \n" * 500)
    trained = lsseq.load(tmp_path / "run", device="cpu")
    assert len(trained.vocabulary) == size
    assert trained.evaluate()["tokens"] == 200


@pytest.fixture(scope="module")
def backwards(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> TrainedModel:
    folder = tmp_path_factory.mktemp("runs") / "backwards"
    make_run(folder, tiny_recipe(small_text, data={"strip_spaces": True, "reverse": True}), scale=10)
    return lsseq.load(folder, device="cpu")


class TestOrder:
    """A run reads every text as its recipe says: here without spaces, and backwards."""

    def test_measures(self, backwards: TrainedModel) -> None:
        surprisal = backwards.surprisal(TEXT)
        assert "".join(token for token, _ in surprisal) == TEXT.replace(" ", "")[::-1]
        bits = sum(cost for _, cost in surprisal)
        assert backwards.bits_per_character(TEXT) == pytest.approx(bits / len(surprisal), rel=1e-9)
        values = backwards.evaluate("test")
        assert values["bpc"] == pytest.approx(values["nll"] / math.log(2), rel=1e-9)
        assert values["tokens"] == values["characters"]
        assert backwards.evaluate("test", mode="dynamic")["tokens"] == values["tokens"]

    def test_it_writes_what_comes_before_the_prompt(self, backwards: TrainedModel) -> None:
        last = backwards.surprisal("x The cat")[-1]
        assert last[0] == "x"
        text = backwards.generate(" The  cat", length=1, temperature=0)
        read = backwards.vocabulary.encode("Thecat"[::-1])
        logits, _ = backwards.model.logits(torch.tensor([backwards.vocabulary.start, *read]).unsqueeze(1))
        assert text == backwards.vocabulary.token(int(logits[-1, 0].argmax()))
        long, short = (backwards.generate("The cat", length=n, seed=1) for n in (20, 5))
        assert len(long) == 20
        assert long.endswith(short)
