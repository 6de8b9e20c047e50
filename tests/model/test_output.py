"""The output layers: the adaptive softmax against its definition in the paper, and what both have in common."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny_run import tiny_model
from torch import Tensor

from lsseq.data.batches import Batch
from lsseq.model import loss
from lsseq.model.factory import build_model
from lsseq.model.loss import IGNORED
from lsseq.model.output import AdaptiveSoftmax, FullSoftmax, OutputLayer
from lsseq.recipe import KeyFault
from lsseq.recipe.schema import Model

N, H, V = 40, 19, 30
CUTOFFS = [4, 11]


def adaptive(cutoffs: list[int] = CUTOFFS) -> AdaptiveSoftmax:
    torch.manual_seed(0)
    layer = AdaptiveSoftmax(V, H, cutoffs)
    layer.initialise(1.0)
    return layer.double()


def full() -> FullSoftmax:
    torch.manual_seed(0)
    layer = FullSoftmax(V, H)
    layer.initialise(1.0)
    return layer.double()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(0, V, (N,), generator=generator)
    targets[[2, 9]] = IGNORED
    return torch.randn(N, H, dtype=torch.float64, generator=generator, requires_grad=True), targets


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


def probabilities(parameters: dict[str, np.ndarray], x: np.ndarray, cutoffs: list[int]) -> np.ndarray:
    """(V,) by Grave et al. 2017, equation 8: the head's, and the head's of a cluster times those in the cluster."""
    head = softmax(parameters["softmax.head.weight"] @ x)
    p = [*head[: cutoffs[0]]]
    for number in range(len(cutoffs)):
        project, words = (parameters[f"softmax.tail.{number}.{part}.weight"] for part in (0, 1))
        assert project.shape == (H // 4 ** (number + 1), H)
        p += [*(head[cutoffs[0] + number] * softmax(words @ (project @ x)))]
    return np.array(p)


@pytest.mark.parametrize("cutoffs", [[4, 11], [1], [29]])
def test_adaptive_softmax_is_its_definition(cutoffs: list[int]) -> None:
    layer = adaptive(cutoffs)
    parameters = {name: weight.numpy() for name, weight in layer.state_dict().items()}
    features, targets = batch()
    p = np.stack([probabilities(parameters, x, cutoffs) for x in features.detach().numpy()])
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(layer.logits(features).exp().detach().numpy(), p, rtol=1e-12)
    counted = targets != IGNORED
    expected = np.where(counted, -np.log(p[np.arange(N), targets.clamp(min=0)]), 0)
    np.testing.assert_allclose(layer.each_nll(features, targets).detach().numpy(), expected, rtol=1e-12)
    assert layer.total_nll(features, targets).item() == pytest.approx(expected.sum(), rel=1e-12)


@pytest.mark.parametrize("make", [adaptive, full])
@pytest.mark.parametrize("rows", [None, 3])
def test_losses_and_gradients_are_those_of_the_whole_distribution(
    make: Callable[[], OutputLayer], rows: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rows is not None:
        monkeypatch.setattr(loss, "ROWS", rows)
        monkeypatch.setattr(loss, "FEW_LOGITS", 1)
    layer = make()
    features, targets = batch()
    counted = targets != IGNORED
    log_p = layer.logits(features).log_softmax(-1)
    each = -log_p.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1) * counted
    wanted = (features, *layer.parameters())
    expected = torch.autograd.grad(each.sum(), wanted, retain_graph=True)
    torch.testing.assert_close(layer.each_nll(features, targets), each)
    for nll in (layer.total_nll(features, targets), layer.each_nll(features, targets).sum()):
        torch.testing.assert_close(nll, each.sum())
        torch.testing.assert_close(torch.autograd.grad(nll, wanted), expected)


def test_a_cluster_without_targets_has_a_gradient_of_zero() -> None:
    """So an optimiser with momentum moves it as it moves every other weight that was not needed."""
    layer = adaptive()
    features, targets = batch()
    layer.total_nll(features, targets.clamp(max=CUTOFFS[0] - 1)).backward()
    assert all(weight.grad is not None for weight in layer.parameters())
    assert layer.softmax.tail[0][1].weight.grad.abs().sum() == 0


def test_parameters_are_those_of_pytorchs_module() -> None:
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(H, V, CUTOFFS).double()
    layer = adaptive()
    theirs.load_state_dict(layer.softmax.state_dict())
    features, targets = batch()
    counted = targets != IGNORED
    expected = theirs(features[counted], targets[counted]).output
    torch.testing.assert_close(-layer.each_nll(features, targets)[counted], expected)


@pytest.mark.parametrize("make", [adaptive, full])
def test_logits_of_any_shape(make: Callable[[], OutputLayer]) -> None:
    layer, features = make(), batch()[0]
    whole = layer.logits(features)
    assert whole.shape == (N, V)
    torch.testing.assert_close(layer.logits(features.view(8, 5, H)), whole.view(8, 5, V))
    torch.testing.assert_close(layer.logits(features[3]), whole[3])


def test_autocast() -> None:
    layer, (features, targets) = adaptive().float(), batch()
    exact = layer.total_nll(features.float(), targets)
    with torch.autocast("cpu", torch.bfloat16):
        total = layer.total_nll(features.float(), targets)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=0.02, atol=0)
    total.backward()
    assert all(weight.grad.dtype == torch.float32 for weight in layer.parameters())


def test_an_initial_range_is_kept_by_every_weight() -> None:
    layer = AdaptiveSoftmax(V, H, CUTOFFS)
    layer.initialise(0.05)
    assert all(0.03 < weight.abs().max() <= 0.05 for weight in layer.parameters())
    layer.initialise(None)
    assert all(weight.abs().max() <= weight.shape[1] ** -0.5 for weight in layer.parameters())


def test_a_copy_is_tied_to_its_own_embedding() -> None:
    model = tiny_model(tied=True, embedding=6)
    twin = copy.deepcopy(model)
    assert twin.output.matrix is twin.embedding.weight
    assert twin.output.matrix is not model.embedding.weight


def test_a_model_carries_its_state_and_masks_with_an_adaptive_softmax() -> None:
    model = tiny_model(V, adaptive_softmax=CUTOFFS, hidden=16)
    tokens = torch.randint(0, V, (10, 3), generator=torch.Generator().manual_seed(2))
    mask = torch.rand(9, 3, generator=torch.Generator().manual_seed(3)) < 0.7
    read = Batch(tokens[:-1], tokens[1:], mask)
    log_p = model.logits(read.inputs)[0].log_softmax(-1)
    expected = -log_p.gather(2, read.targets.unsqueeze(2)).squeeze(2) * mask
    torch.testing.assert_close(model.score(read).nll, expected)
    torch.testing.assert_close(model(read).nll, expected.sum().detach() / mask.sum())


def test_number_of_parameters() -> None:
    """Head (2000 + 2)·512; clusters 512·128 + 128·8000 and 512·32 + 32·23278."""
    with torch.device("meta"):
        output = build_model(Model(hidden=512, adaptive_softmax=[2000, 10000]), 33278).output
    expected = 2002 * 512 + 512 * 128 + 128 * 8000 + 512 * 32 + 32 * 23278
    assert sum(weight.numel() for weight in output.parameters()) == expected


@pytest.mark.parametrize(
    ("cutoffs", "hidden", "message"),
    [
        ([5, V], 16, "the last cutoff (30) must be below the 30 of the vocabulary"),
        ([2, 5, 9], 16, "3 cutoffs need an output of at least 64 units (got 16)"),
    ],
)
def test_refusals(cutoffs: list[int], hidden: int, message: str) -> None:
    with pytest.raises(KeyFault) as caught:
        build_model(Model(adaptive_softmax=cutoffs, hidden=hidden), V)
    assert (caught.value.key, caught.value.message) == ("model.adaptive_softmax", message)
