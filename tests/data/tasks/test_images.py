"""IDX files, and images read pixel by pixel: from a prepared corpus and from a data set of the Hugging Face library."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.data import open_text
from lsseq.data.corpus import load_corpus
from lsseq.data.prepare import prepare
from lsseq.data.report import corpus_values, prepared_lines
from lsseq.data.tasks import open_task
from lsseq.data.tasks.idx import read_idx
from lsseq.errors import RequestError
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data, HubDataset, Task

pytestmark = pytest.mark.usefixtures("own_data")


def idx(values: np.ndarray, kind: int = 0x08) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape) + values.tobytes()


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(*[st.integers(0, 5)] * 3), packed=st.booleans())
def test_idx_files_give_back_what_was_written(shape, packed, tmp_path_factory):
    values = np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)
    path = tmp_path_factory.mktemp("idx") / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    assert np.array_equal(read_idx(path, 3), values)


IMAGES = idx(np.zeros((2, 3, 4), np.uint8))


OTHER = "it is not an IDX file of bytes in 3 dimensions: it begins with {}, not 00 00 08 03"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", OTHER.format("nothing")),
        (b"\x89PNG\r\n", OTHER.format("89 50 4e 47")),
        (idx(np.zeros(24, np.uint8)), OTHER.format("00 00 08 01")),
        (idx(np.zeros((2, 3, 1), np.float32), 0x0D), OTHER.format("00 00 0d 03")),
        (IMAGES[:10], "the IDX file ends within its dimensions"),
        (IMAGES[:-1], "the IDX file has 23 values, and its head says 2×3×4 = 24"),
        (IMAGES + b"x", "the IDX file has 25 values, and its head says 2×3×4 = 24"),
    ],
    ids=["empty", "png", "labels", "floats", "head", "cut off", "too long"],
)
def test_what_is_no_idx_file(content, message, tmp_path):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        read_idx(path, 3)
    assert caught.value.message == message
    assert caught.value.place is not None
    assert caught.value.place.source == str(path)


def test_a_damaged_gz(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(np.random.default_rng(0).bytes(5000))[:3000])
    with pytest.raises(RequestError, match="the gzip file is damaged"):
        read_idx(path, 3)


SIZES = {"train": 40, "valid": 12, "test": 16}


def records(split: str) -> np.ndarray:
    """Labels and pixels that can be told from each other."""
    draws = np.random.default_rng(len(split))
    labels = np.minimum(np.arange(SIZES[split]) % 12, 9)  # the class 9 is the most frequent
    return np.column_stack([labels, draws.integers(0, 256, (SIZES[split], 784))]).astype(np.uint8)


def prepare_small_mnist() -> None:
    """A corpus `mnist` of a few made images, prepared as the true one is."""
    made = {split: [records(split).tobytes()] for split in SIZES}
    prepare(replace(load_corpus("mnist"), prepare=lambda _: made, files=(), published=()))


def opened(**keys):
    task = Task(kind="images", **keys)
    return open_task(Data(corpus="mnist", task=task), task)


def test_an_image_is_the_sequence_of_its_pixels():
    prepare_small_mnist()
    images = opened()
    assert images.splits == ("train", "valid", "test")
    batch = images.batch("valid", np.array([7, 2]))
    expected = records("valid")[[7, 2]]
    assert batch.inputs.shape == (784, 2, 1)
    assert torch.equal(batch.inputs[..., 0].t(), torch.from_numpy(expected[:, 1:].astype(np.float32) / 255))
    assert batch.mask is not None
    assert batch.mask.sum() == 2
    assert batch.targets[-1].tolist() == expected[:, 0].tolist()
    assert set(images.lengths("test")) == {784}
    assert len(images.lengths("test")) == 16
    assert (images.form.inputs, images.form.symbols, images.form.classes) == (1, False, tuple("0123456789"))


def test_the_permutation_is_one_for_all_and_documented():
    prepare_small_mnist()
    plain, permuted = opened(), opened(permuted=True, seed=3)
    order = np.random.RandomState(3).permutation(784)
    for split in SIZES:
        numbers = np.arange(4)
        before, after = plain.batch(split, numbers), permuted.batch(split, numbers)
        assert torch.equal(before.inputs[order], after.inputs)
        assert torch.equal(before.targets, after.targets)
    assert len({plain.fingerprint, permuted.fingerprint, opened(permuted=True).fingerprint}) == 3
    assert np.random.RandomState(1).permutation(784)[:5].tolist() == [649, 265, 111, 301, 339]


def test_chance_is_the_most_frequent_class_of_training():
    prepare_small_mnist()
    labels, train = records("test")[:, 0], records("train")[:, 0]
    chance = opened().chance("test")
    assert chance["accuracy"] == sum(label == 9 for label in labels) / 16
    share = [(np.sum(train == label) + 1) / 50 for label in labels]
    assert chance["nll"] == pytest.approx(-np.log(share).mean())


def test_what_a_recipe_may_ask_of_images():
    with pytest.raises(KeyFault, match="the corpus `mnist` is not prepared") as caught:
        opened()
    assert caught.value.key == "data.corpus"
    task = Task(kind="images")
    with pytest.raises(KeyFault, match="the corpus `python-docs` is a text and holds no images"):
        open_task(Data(corpus="python-docs", task=task), task)
    with pytest.raises(KeyFault, match="no images are named"):
        open_task(Data(task=task), task)
    prepare_small_mnist()
    with pytest.raises(KeyFault, match="the corpus `mnist` holds images") as caught:
        open_text(Data(corpus="mnist", unit="byte"))
    assert caught.value.hint == "data.task=images reads them"


def test_what_is_told_of_a_corpus_of_images():
    prepare_small_mnist()
    lines = "\n".join(prepared_lines(prepare(load_corpus("mnist"))))
    assert "images of 28×28 pixels in 10 classes: train 40, valid 12, test 16" in lines
    assert "words" not in lines
    assert corpus_values(load_corpus("mnist"))["images"] == {
        "height": 28, "width": 28, "classes": tuple("0123456789"),
    }  # fmt: skip


datasets = pytest.importorskip("datasets")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A cache of its own, no progress bars, no network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def parquet(path: Path, images: list, labels: list, **features) -> str:
    made = datasets.Dataset.from_dict({"image": images, "label": labels})
    for column, feature in features.items():
        made = made.cast_column(column, feature)
    made.to_parquet(path)
    return str(path)


def from_dataset(path: str, test: str | None = None, **keys):
    task = Task(kind="images", **keys)
    files = {"train": path, **({"test": test} if test else {})}
    return open_task(Data(dataset=HubDataset(name="parquet", files=files, column="image"), task=task), task)


@pytest.mark.parametrize("nested", [False, True])
def test_images_of_a_data_set(alone, tmp_path, nested):
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (40, 3, 4), np.uint8)
    labels = [number % 2 for number in range(40)]
    if nested:
        path = parquet(tmp_path / "d.parquet", [image.tolist() for image in pixels], labels)
        names = ("0", "1")
    else:
        pil = pytest.importorskip("PIL.Image")
        pictures = [pil.fromarray(image) for image in pixels]
        path = parquet(
            tmp_path / "d.parquet",
            pictures,
            labels,
            image=datasets.Image(),
            label=datasets.ClassLabel(names=["b", "a"]),
        )
        names = ("a", "b")
    images = from_dataset(path, test=path)
    assert images.form.classes == names
    assert [len(images.lengths(split)) for split in images.splits] == [38, 2, 40]
    batch = images.batch("test", np.array([5]))
    assert torch.equal(batch.inputs.flatten(), torch.from_numpy(pixels[5].ravel().astype(np.float32) / 255))
    assert batch.targets[-1].tolist() == [1 if nested else 0]


def test_faults_of_a_data_set(alone, tmp_path):
    grey = [[[0, 255]]] * 40
    path = parquet(tmp_path / "a.parquet", grey, ["x"] * 40)
    with pytest.raises(KeyFault, match="parquet has no column `labels`") as caught:
        from_dataset(path, label="labels")
    assert caught.value.key == "data.task.label"
    assert caught.value.suggestion == "did you mean `label`?"
    other = parquet(tmp_path / "b.parquet", grey[:2], ["x", "y"])
    with pytest.raises(RequestError, match="no training row has the label `y`") as caught_label:
        from_dataset(path, test=other)
    assert str(caught_label.value.place) == "parquet, test:2"
    with pytest.raises(RequestError, match="this is no grey image with values from 0 to 255"):
        from_dataset(parquet(tmp_path / "c.parquet", [[[0, 256]]] * 40, ["x"] * 40))
    with pytest.raises(RequestError, match="the images of parquet differ in size"):
        from_dataset(parquet(tmp_path / "d.parquet", [[[0, 5]]] * 39 + [[[0, 5], [1, 2]]], ["x"] * 40))
    with pytest.raises(KeyFault, match="3 rows are too few to divide"):
        from_dataset(parquet(tmp_path / "e.parquet", grey[:3], ["x"] * 3))
