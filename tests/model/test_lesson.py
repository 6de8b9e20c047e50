"""What detectors are taught: the cross-entropy, and the peaks of a model's own surprisal."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_run import tiny_model
from torch import Tensor

from lsseq.data.batches import Batch
from lsseq.model.factory import build_model
from lsseq.model.lesson import own_marks, teaching_loss
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Model

T, B, D, V = 9, 3, 2, 7
HM = {"recurrence": "hm-lstm", "layers": D + 1}


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch_of(marks: Tensor | None = None, mask: Tensor | None = None) -> Batch:
    tokens = torch.randint(V, (T + 1, B), generator=torch.Generator().manual_seed(2))
    return Batch(tokens[:-1], tokens[1:], mask, marks)


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_the_cross_entropy(masked: bool) -> None:
    sums, marks = drawn(T, B, D), drawn(T, B, D, seed=2) > 0
    counted = drawn(T, B, seed=3) > 0 if masked else None
    expected = 0.0
    for d in range(D):
        each = [
            -math.log(1 / (1 + math.exp(-s if mark else s)))
            for t in range(T)
            for b in range(B)
            if counted is None or counted[t, b]
            for s, mark in [(float(sums[t, b, d]), bool(marks[t, b, d]))]
        ]
        expected += sum(each) / len(each)
    assert float(teaching_loss(sums, marks, counted)) == pytest.approx(expected, rel=1e-12)


def test_own_marks_stand_at_the_input_before_the_target_that_surprises() -> None:
    #                                  0    1    2    3    4    5    6
    surprisal = torch.tensor([[9.0, 1.0, 4.0, 4.0, 1.0, 2.0, 1.0]]).T
    marks, known = own_marks(surprisal, 0)
    # Target 2 is above 1 and at least 3; target 5 is above both. Their inputs have the same numbers.
    assert marks.flatten().nonzero().flatten().tolist() == [2, 5]
    # Whether the first and the last one are peaks is not known.
    assert known.flatten().tolist() == [False, True, True, True, True, True, False]
    marks, known = own_marks(surprisal, 1)
    assert marks.flatten().nonzero().flatten().tolist() == [3, 6]
    assert known.flatten().tolist() == [False, False, True, True, True, True, True]
    for length in range(3):
        assert not own_marks(surprisal[:length], 1)[1].any()


@pytest.mark.parametrize("target", ["two-way-surprise", "two-way-line-ends"])
def test_marks_of_the_text_are_added_to_the_loss(target: str) -> None:
    model = tiny_model(V, **HM, boundary={"target": target, "target_weight": 0.7}).train()
    marks = drawn(T, B, D) > 0
    output = model(batch_of(marks))
    _, _, extras = model.features(batch_of().inputs)
    taught = teaching_loss(extras["sums"], marks)
    torch.testing.assert_close(output.loss.detach(), output.nll + 0.7 * taught.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(output.extras["teaching_loss"], taught.detach(), rtol=1e-12, atol=0)
    assert "sums" not in output.extras
    # The lesson reaches every detector.
    gradient = torch.autograd.grad(taught, [model.get_parameter(f"recurrence.hm.bias_l{d}") for d in range(D)])
    assert all(one[-1] != 0 for one in gradient)


def test_without_marks_nothing_is_taught() -> None:
    model = tiny_model(V, **HM, boundary={"target": "two-way-surprise"}).train()
    output = model(batch_of())
    assert output.loss.item() == output.nll.item()
    assert "teaching_loss" not in output.extras
    plain = tiny_model(V, **HM).train()(batch_of(drawn(T, B, D) > 0))
    assert plain.loss.item() == plain.nll.item() == pytest.approx(output.nll.item(), rel=1e-12)


def test_own_surprise_teaches_the_lowest_detector_by_the_models_own_peaks() -> None:
    model = tiny_model(V, **HM, boundary={"target": "own-surprise", "delay": 1}, dropout={"output": 0.5}).train()
    output = model(batch_of())
    with torch.no_grad():
        features, _, extras = model.features(batch_of().inputs)
        marks, known = own_marks(model.nll(features, batch_of()), 1)  # without dropout
        expected = teaching_loss(extras["sums"][..., :1], marks, known)
    torch.testing.assert_close(output.extras["teaching_loss"], expected, rtol=1e-12, atol=0)


def test_padding_is_not_taught() -> None:
    model = tiny_model(V, **HM, boundary={"target": "own-surprise"}).train()
    mask = torch.ones(T, B, dtype=torch.bool)
    mask[5:, 1] = False
    taught = model(batch_of(mask=mask)).extras["teaching_loss"]
    features, _, extras = model.features(batch_of().inputs)
    marks, known = own_marks(model.nll(features, batch_of(mask=mask)), 0)
    torch.testing.assert_close(taught, teaching_loss(extras["sums"][..., :1], marks, known & mask).detach())


def test_in_evaluation_nothing_is_taught() -> None:
    model = tiny_model(V, **HM, boundary={"target": "own-surprise"})
    output = model(batch_of())
    assert output.loss.item() == output.nll.item()


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"recurrence": "lstm"}, "model.boundary.target"),
        ({"recurrence": "hm-lstm", "layers": 1}, "model.boundary.target"),
    ],
)
def test_refusals(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(KeyFault) as caught:
        build_model(Model.model_validate({**keys, "boundary": {"target": "own-surprise"}}), V)
    assert caught.value.key == key
