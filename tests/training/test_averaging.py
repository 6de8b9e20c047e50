"""Averages of the weights against averages computed from all of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lsseq.recipe.schema import Averaging as Section
from lsseq.training.averaging import Averaging


def walk(model: nn.Module, averaging: Averaging, steps: int, epoch: int = 0) -> list[list[torch.Tensor]]:
    """Random steps of the weights; all weights that there were."""
    seen = []
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        averaging.stepped(epoch)
        seen.append([parameter.detach().clone() for parameter in model.parameters()])
    return seen


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2).double()


def averaged(model: nn.Module, averaging: Averaging) -> list[torch.Tensor]:
    with averaging.applied():
        return [parameter.detach().clone() for parameter in model.parameters()]


def assert_mean(average: list[torch.Tensor], seen: list[list[torch.Tensor]]) -> None:
    for number, tensor in enumerate(average):
        mean = torch.stack([weights[number] for weights in seen]).mean(0)
        torch.testing.assert_close(tensor, mean, rtol=0, atol=1e-12)


def test_none_changes_nothing(model: nn.Module) -> None:
    averaging = Averaging(Section(), model)
    seen = walk(model, averaging, 3)
    assert not averaging.active
    assert all(map(torch.equal, averaged(model, averaging), seen[-1]))
    assert averaging.own_weights() == {}


def test_asgd_is_the_mean_from_its_epoch_on(model: nn.Module) -> None:
    averaging = Averaging(Section(kind="asgd", start=2), model)
    walk(model, averaging, 5, epoch=1)
    assert not averaging.active
    seen = walk(model, averaging, 9, epoch=2)
    assert_mean(averaged(model, averaging), seen)
    assert all(map(torch.equal, model.parameters(), seen[-1])), "the weights themselves train on"


def test_ema(model: nn.Module) -> None:
    averaging = Averaging(Section(kind="ema", decay=0.9), model)
    seen = walk(model, averaging, 12)
    expected = seen[0]
    for weights in seen[1:]:
        expected = [0.9 * old + 0.1 * new for old, new in zip(expected, weights, strict=True)]
    for one, other in zip(averaged(model, averaging), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def first_trigger(nlls: list[float], patience: int) -> int | None:
    """Merity et al. 2018, algorithm 1: t > n and v > min of all logs but the last n."""
    logs: list[float] = []
    for number, nll in enumerate(nlls):
        if len(logs) > patience and nll >= min(logs[: len(logs) - patience]):
            return number
        logs.append(nll)
    return None


@pytest.mark.parametrize("patience", [0, 1, 5])
def test_nt_asgd_starts_when_validation_stands_still(model: nn.Module, patience: int) -> None:
    nlls = [5.0, 4.0, 4.5, 3.0, 3.1, 3.2, 2.9, 3.05, 3.0, 3.3, 3.4, 3.5, 3.6]
    expected = first_trigger(nlls, patience)
    assert expected is not None
    averaging = Averaging(Section(kind="nt-asgd", patience=patience), model)
    seen: list[list[torch.Tensor]] = []
    for number, nll in enumerate(nlls):
        walked = walk(model, averaging, 2)
        assert averaging.active == (number > expected)
        if number > expected:
            seen += walked
        averaging.evaluated(nll)
    assert_mean(averaged(model, averaging), seen)


def test_state_comes_back(model: nn.Module) -> None:
    averaging = Averaging(Section(kind="ema", decay=0.9), model)
    walk(model, averaging, 4)
    other = nn.Linear(3, 2).double()
    with averaging.applied():
        other.load_state_dict(model.state_dict())
    again = Averaging(Section(kind="ema", decay=0.9), other)
    again.restore(averaging.state(), averaging.own_weights())
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    assert all(map(torch.equal, averaged(model, averaging), averaged(other, again)))


def test_own_weights_return_after_an_error(model: nn.Module) -> None:
    averaging = Averaging(Section(kind="asgd"), model)
    seen = walk(model, averaging, 3)
    with pytest.raises(KeyError), averaging.applied():
        raise KeyError
    assert all(map(torch.equal, model.parameters(), seen[-1]))
