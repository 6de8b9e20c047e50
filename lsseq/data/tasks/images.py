"""Images read pixel by pixel, and their classes: sequential and permuted MNIST (Le et al. 2015)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lsseq.data.batches import Batch
from lsseq.data.sources import prepared
from lsseq.data.tasks.examples import Examples, Form, Numbers, at_the_end, class_chance, sum_of
from lsseq.data.tasks.labels import Row, class_names, dataset_rows, dealt, numbered
from lsseq.errors import RequestError
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data, HubDataset, Task

Grey = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Pictures:
    """The images of a split."""

    pixels: Grey
    """(N, pixels of an image), row by row."""
    labels: Numbers
    """(N,)"""


class Images(Examples):
    """Each image is a sequence of its pixels, row by row, scaled to [0, 1]; the answer after the last one is its class.

    With `permuted` the t-th step reads pixel P[t], P = `numpy.random.RandomState(seed).permutation(pixels)`, a
    sequence of numbers that is the same in every version of numpy.
    """

    def __init__(self, parts: Mapping[str, Pictures], classes: tuple[str, ...], task: Task, source: str) -> None:
        steps = parts["train"].pixels.shape[1]
        order = np.random.RandomState(task.seed).permutation(steps) if task.permuted else np.arange(steps)
        self._parts = {name: Pictures(part.pixels[:, order], part.labels) for name, part in parts.items()}
        self.form = Form(1, symbols=False, classes=classes)
        self.source = source
        sums = {name: [_sum(part.pixels), _sum(part.labels)] for name, part in self._parts.items()}
        self.fingerprint = sum_of({"classes": classes, "parts": sums})

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def lengths(self, split: str) -> Numbers:
        images, steps = self._parts[split].pixels.shape
        return np.full(images, steps, np.int64)

    def batch(self, split: str, numbers: Numbers) -> Batch:
        part = self._parts[split]
        pixels = part.pixels[numbers].T.astype(np.float32, order="C") / 255
        answers = at_the_end(part.labels[numbers], self.lengths(split)[numbers])
        return Batch(torch.from_numpy(pixels).unsqueeze(-1), *answers)

    def chance(self, split: str) -> dict[str, float]:
        assert self.form.classes is not None
        return class_chance(self._parts["train"].labels, self._parts[split].labels, len(self.form.classes))


def open_images(data: Data, task: Task) -> Images:
    """The images that the `data` section names.

    Raises:
        KeyFault: no images are named, or they are not prepared or not there.
        RequestError: a row of a data set is no image, or has a label that training has not.
    """
    if data.dataset is not None:
        return _from_dataset(data.dataset, task)
    if data.corpus is None:
        raise KeyFault("data.corpus", "no images are named", hint="give data.corpus=mnist, or data.dataset")
    ready = prepared(data.corpus)
    images = ready.corpus.images
    if images is None:
        raise KeyFault("data.corpus", f"the corpus `{data.corpus}` is a text and holds no images")
    parts = {}
    for name, text in ready.texts.items():
        records = np.frombuffer(b"".join(text.chunks()), np.uint8).reshape(-1, images.size)
        parts[name] = Pictures(records[:, 1:], records[:, 0].astype(np.int64))
    return Images(parts, images.classes, task, data.corpus)


def _from_dataset(wanted: HubDataset, task: Task) -> Images:
    rows = dealt(dataset_rows(wanted, task.label), task.seed)
    classes = class_names(row.label for row in rows["train"])
    parts = {}
    for split, of_split in rows.items():
        images = [_grey(row) for row in of_split]
        if len({len(image) for image in images}) > 1:
            raise RequestError(f"the images of {wanted.name} differ in size")
        parts[split] = Pictures(np.stack(images), numbered(of_split, classes))
    return Images(parts, classes, task, wanted.name)


def _grey(row: Row) -> Grey:
    """(pixels,): an image of one channel, as a picture of PIL or as nested lists of 0 to 255."""
    values = np.asarray(row.value)
    if values.dtype.kind not in "iu" or values.ndim not in (1, 2) or values.min() < 0 or values.max() > 255:
        raise RequestError("this is no grey image with values from 0 to 255", row.place)
    return values.astype(np.uint8).ravel()


def _sum(values: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
