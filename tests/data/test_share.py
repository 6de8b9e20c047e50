"""A share of windows is some columns of them, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lsseq.data.batches import training_windows
from lsseq.data.share import Share
from lsseq.data.tasks import ExampleWindows, open_task
from lsseq.recipe.schema import Data, Training

TOKENS = np.random.default_rng(3).integers(0, 9, 500)


@pytest.mark.parametrize("keys", [{"random_bptt": True}, {"windows": "pieces"}])
def test_columns_of_the_same_windows(keys: dict[str, object]) -> None:
    training = Training(batch=6, bptt=11, steps=1, **keys)
    whole = training_windows(TOKENS, training, 0)
    marked = training_windows(TOKENS, training, 0)
    marked.teach(TOKENS[:, None] > 4)
    share = Share(marked, slice(2, 5))
    assert share.windows_per_epoch == whole.windows_per_epoch
    assert share.tokens_per_epoch == whole.tokens_per_epoch
    for _ in range(2 * whole.windows_per_epoch):
        expected, window = whole.next(), share.next()
        assert torch.equal(window.batch.inputs, expected.batch.inputs[:, 2:5])
        assert torch.equal(window.batch.targets, expected.batch.targets[:, 2:5])
        assert window.batch.marks is not None
        assert torch.equal(window.batch.marks[1:, :, 0], window.batch.inputs[1:] > 4)
        assert (window.targets, window.steps) == (expected.targets, expected.steps) == (expected.batch.tokens,) * 2
        assert (window.fresh, window.epoch, window.ends_epoch, window.lr_scale) == (
            expected.fresh, expected.epoch, expected.ends_epoch, expected.lr_scale,
        )  # fmt: skip
        assert share.position() == whole.position()
    share.seek(dict.fromkeys(share.position(), 0))
    assert marked.position() == dict.fromkeys(share.position(), 0)


def test_sequences_and_what_is_asked_of_them() -> None:
    data = Data.model_validate({"task": {"kind": "adding", "length": 5, "examples": 12}})
    assert data.task is not None
    windows = [ExampleWindows(open_task(data, data.task), Training(batch=4, steps=1)) for _ in range(2)]
    expected, window = windows[0].next(), Share(windows[1], slice(0, 2)).next()
    assert torch.equal(window.batch.inputs, expected.batch.inputs[:, :2])
    assert expected.batch.mask is not None
    assert window.batch.mask is not None
    assert torch.equal(window.batch.mask, expected.batch.mask[:, :2])
    assert (window.batch.tokens, window.targets, window.batch.steps, window.steps) == (2, 4, 10, 20)
