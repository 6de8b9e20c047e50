"""The dropout modules: what is dropped together, what is not, and the scale of what is kept."""

from __future__ import annotations

import math

import pytest
import torch

import lsseq.nn as lnn
from lsseq.nn.random import first_row

T, B, H = 9, 4, 500


def test_sequence_masks_drop_the_same_units_at_all_steps() -> None:
    torch.manual_seed(0)
    y = lnn.Dropout(0.3)(torch.ones(T, B, H))
    assert torch.equal(y, y[:1].expand(T, B, H))
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    dropped = (y[0] == 0).double()
    assert abs(dropped.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / (B * H))
    assert not torch.equal(dropped[0], dropped[1])


def test_step_masks_are_new_each_step() -> None:
    torch.manual_seed(0)
    y = lnn.Dropout(0.3, mask="step")(torch.ones(T, B, H))
    kept = (y[1:] != 0).double() - 0.7, (y[:-1] != 0).double() - 0.7
    assert abs((kept[0] * kept[1]).mean()) < 4 * 0.21 / math.sqrt(kept[0].numel())


@pytest.mark.parametrize("mask", ["step", "sequence"])
def test_calls_modules_seeds_and_shards(mask: str) -> None:
    first, second = lnn.Dropout(0.5, mask=mask), lnn.Dropout(0.5, mask=mask)
    x = torch.ones(T, B, H)
    torch.manual_seed(1)
    outputs = [first(x), first(x), second(x)]
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])
    torch.manual_seed(1)
    assert torch.equal(first(x), outputs[0])
    torch.manual_seed(1)
    with first_row(3):
        assert torch.equal(first(x[:, 3:]), outputs[0][:, 3:])


def test_no_dropout_is_the_identity() -> None:
    x = torch.randn(T, B, H)
    before = torch.get_rng_state()
    assert lnn.Dropout(0.5).eval()(x) is x
    assert lnn.Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)
    assert not lnn.Dropout(1.0)(x).any()


def test_gradient() -> None:
    x = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(2)
        return lnn.Dropout(0.5)(x)

    assert torch.autograd.gradcheck(run, (x,))


def test_words_are_dropped_whole_and_everywhere() -> None:
    V = 300
    weight, tokens = torch.rand(V, 7) + 1, torch.arange(V).repeat(2, 3).view(6, V)
    drop = lnn.EmbeddingDropout(0.4)
    torch.manual_seed(0)
    y = drop(weight, tokens)
    assert y.shape == (6, V, 7)
    assert torch.equal(y, y[:1].expand_as(y))
    gone = (y[0] == 0).all(-1)
    assert abs(gone.double().mean() - 0.4) < 4 * math.sqrt(0.24 / V)
    torch.testing.assert_close(y[0][~gone], weight[~gone] / 0.6)
    torch.manual_seed(0)
    with first_row(100):  # the mask is of the vocabulary, so a shard of the batch draws the same
        assert torch.equal(drop(weight, tokens), y)
    assert torch.equal(drop.eval()(weight, tokens), weight[tokens])


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"^p should be a number in range \[0, 1\], got 1.5$"):
        lnn.Dropout(1.5)
    with pytest.raises(ValueError, match=r"^p should be a number in range \[0, 1\], got -1$"):
        lnn.EmbeddingDropout(-1)
    with pytest.raises(ValueError, match=r"^mask should be one of 'step', 'sequence', got 'locked'$"):
        lnn.Dropout(0.5, mask="locked")
    with pytest.raises(ValueError, match=r"^Dropout: expected an input \(T, B, H\), got 2 dimensions$"):
        lnn.Dropout(0.5)(torch.ones(2, 3))


def test_repr() -> None:
    assert repr(lnn.Dropout(0.25)) == "Dropout(p=0.25, mask=sequence)"
    assert repr(lnn.EmbeddingDropout(0.1)) == "EmbeddingDropout(p=0.1)"
