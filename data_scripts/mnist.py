"""MNIST: 28×28 grey images of handwritten digits, for sequential and permuted MNIST (`data.task=images`).

The first 50,000 images of the training files are for training and the last 10,000 for validation, as in the data set of
the deep learning tutorials (`mnist.pkl.gz`) that the papers read. The sums are those of the uncompressed files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lsseq.data.corpus import Corpus, ImageRecords, Published, Source, Splits
from lsseq.data.report import script
from lsseq.data.tasks.idx import read_idx

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
TRAIN, VALID, TEST = 50_000, 10_000, 10_000
RECORDS = ImageRecords(28, 28, tuple("0123456789"))


def idx(name: str, size: int, sha256: str) -> Source:
    return Source(name, size, sha256, urls=tuple(f"{mirror}/{name}.gz" for mirror in MIRRORS))


def prepare(files: Mapping[str, Path]) -> Splits:
    return {
        "train": records(files, "train", 0, TRAIN),
        "valid": records(files, "train", TRAIN, TRAIN + VALID),
        "test": records(files, "t10k", 0, TEST),
    }


def records(files: Mapping[str, Path], name: str, start: int, end: int) -> Iterator[bytes]:
    """The images from `start` to `end`, each behind its label."""
    images = read_idx(files[f"{name}-images-idx3-ubyte"], 3)[start:end]
    labels = read_idx(files[f"{name}-labels-idx1-ubyte"], 1)[start:end]
    yield np.column_stack([labels, images.reshape(len(images), -1)]).tobytes()


CORPUS = Corpus(
    name="mnist",
    description="MNIST: images of handwritten digits, read pixel by pixel",
    licence="CC BY-SA 3.0",
    citation="LeCun, Bottou, Bengio & Haffner 1998, Proceedings of the IEEE 86(11)",
    prepare=prepare,
    files=(
        idx("train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        idx("train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        idx("t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        idx("t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
    published=(Published("byte", *(RECORDS.size * images for images in (TRAIN, VALID, TEST))),),
    images=RECORDS,
)

if __name__ == "__main__":
    script(CORPUS)
