"""What is kept of a text that a model has read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_run import tiny_model

from lsseq.data.batches import evaluation_windows
from lsseq.evaluation.reading import StaticReader, read_all


def test_means_are_those_of_the_tokens_that_count() -> None:
    """23 tokens in three streams of which one is shorter, in windows whose ends are padding."""
    model = tiny_model(recurrence="hm-lstm", layers=3, boundary={"slope": 3.0})
    tokens = np.random.default_rng(0).integers(0, 7, 23)
    reader = StaticReader(model)
    read_all(reader, evaluation_windows(tokens, 0, streams=3, window=5), "cpu")
    told = {"boundaries": [], "updates": []}
    for batch in (window.batch for window in evaluation_windows(tokens, 0, streams=3, window=100)):
        counted = torch.ones_like(batch.targets, dtype=torch.bool) if batch.mask is None else batch.mask
        extras = model.score(batch).extras
        for name, parts in told.items():
            parts.append(extras[name][counted])
    for name, parts in told.items():
        every = torch.cat(parts)
        assert len(every) == len(tokens)
        assert reader.told.values()[name].tolist() == pytest.approx(every.double().mean(0).tolist())
    assert 0 < reader.told.values()["updates"][1] < 1


def test_a_model_that_tells_nothing_of_its_tokens() -> None:
    reader = StaticReader(tiny_model())
    read_all(reader, evaluation_windows(np.zeros(9, dtype=np.int64), 0, streams=1, window=5), "cpu")
    assert reader.told.values() == {}
