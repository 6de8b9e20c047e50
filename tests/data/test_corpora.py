"""The published counts, on the real corpora: `LSSEQ_CORPORA=FOLDER pytest -m corpora`."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lsseq.data import open_text
from lsseq.data.corpus import load_corpus
from lsseq.data.prepare import Prepared, prepare
from lsseq.data.tasks import open_task
from lsseq.recipe.schema import Data, Task

pytestmark = [pytest.mark.corpora, pytest.mark.usefixtures("own_data")]


def folder(name: str) -> Path:
    return Path(os.environ["LSSEQ_CORPORA"]) / name


def prepared(name: str) -> Prepared:
    made = prepare(load_corpus(name), folder(name))
    assert all(comparison.equal for comparison in made.comparisons())
    return made


def sizes(**keys) -> tuple[int, ...]:
    data = open_text(Data(**keys))
    return (*(len(split.tokens) for split in data.splits.values()), len(data.vocabulary))


def test_ptb():
    prepared("ptb")
    assert sizes(corpus="ptb", unit="char") == (5_017_482, 393_042, 442_423, 50)
    assert sizes(corpus="ptb", unit="word", vocabulary_size=10_000) == (929_589, 73_760, 82_430, 10_000)


def test_ptb_characters_are_those_of_the_character_files():
    made = prepared("ptb")
    for split in ("train", "valid", "test"):
        spelled = gzip.decompress((folder("ptb") / f"ptb.char.{split}.txt.gz").read_bytes()).decode()
        text = "".join(" " if symbol == "_" else symbol for symbol in spelled.split(" "))
        assert (made.folder / f"{split}.txt").read_bytes() == text.encode()


def test_ptb_from_the_character_files(tmp_path):
    from_words = prepared("ptb")
    for path in folder("ptb").glob("ptb.char.*"):
        shutil.copy(path, tmp_path / path.name)
    from_characters = prepare(load_corpus("ptb"), tmp_path)
    assert from_characters.facts["splits"] == from_words.facts["splits"]
    assert from_characters.facts["files"] != from_words.facts["files"]


def test_wikitext_2():
    prepared("wikitext-2")
    assert sizes(corpus="wikitext-2", unit="word") == (2_088_628, 217_646, 245_569, 33_278)


def test_tinyshakespeare():
    prepared("tinyshakespeare")
    assert sizes(corpus="tinyshakespeare") == (1_003_854, 55_770, 55_770, 65)


def test_brent():
    made = prepared("brent")
    assert list(made.facts["splits"]) == ["train"]
    assert sizes(corpus="brent") == (129_208, 129_208, 52)
    assert sizes(corpus="brent", strip_spaces=True) == (105_599, 105_599, 51)
    split = open_text(Data(corpus="brent", strip_spaces=True)).splits["valid"]
    assert split.whole
    assert split.gold is not None
    inner = ~split.gold.ends
    assert (inner.sum(), (split.gold.levels["words"] & inner).sum()) == (86_019, 33_399 - 9_790)


def test_mnist():
    prepared("mnist")
    task = Task(kind="images")
    images = open_task(Data(corpus="mnist", task=task), task)
    assert [len(images.lengths(split)) for split in images.splits] == [50_000, 10_000, 10_000]
    # A digit one is the most frequent, 1,135 of the 10,000 test images are ones.
    assert images.chance("test")["accuracy"] == 0.1135
    first = images.batch("train", np.arange(1))
    assert first.targets[-1].tolist() == [5]
    assert float(first.inputs.sum()) == pytest.approx(27525 / 255)


def test_prefixes_of_text8_and_enwik8_as_own_text():
    text8 = str(folder("text8-prefix") / "text8.first3000000.gz")
    assert sizes(text=text8) == (2_700_000, 150_000, 150_000, 27)
    enwik8 = str(folder("enwik8-prefix") / "enwik8.first4000000.gz")
    assert sizes(text=enwik8, unit="byte") == (3_600_000, 200_000, 200_000, 256)
