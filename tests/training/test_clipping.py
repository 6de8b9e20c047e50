"""Limits on gradients and on steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lsseq.training.clipping import ClipBy, clip_gradient, clipped_update, gradient_norm, total_norm


def parameters_with_gradients(scale: float = 1.0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    parameters = [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((4, 3), (5,), (2, 2))]
    for parameter in parameters:
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    return parameters


def clip(parameters: list[nn.Parameter], limit: float | None, by: ClipBy) -> torch.Tensor:
    norm = gradient_norm(parameters)
    clip_gradient(parameters, norm, limit, by)
    return norm


def gradients(parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def test_total_norm() -> None:
    tensors = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert total_norm(tensors).item() == 5.0


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_by_norm_is_torchs_to_the_bit(limit: float) -> None:
    ours, theirs = parameters_with_gradients(), parameters_with_gradients()
    norm = clip(ours, limit, "norm")
    assert torch.equal(norm, nn.utils.clip_grad_norm_(theirs, limit))
    assert all(map(torch.equal, gradients(ours), gradients(theirs)))


def test_by_value_is_torchs_to_the_bit() -> None:
    ours, theirs = parameters_with_gradients(), parameters_with_gradients()
    norm = clip(ours, 0.3, "value")
    assert norm == total_norm(gradients(theirs)), "the norm before the limit"
    nn.utils.clip_grad_value_(theirs, 0.3)
    assert all(map(torch.equal, gradients(ours), gradients(theirs)))


@pytest.mark.parametrize(("limit", "by"), [(None, "norm"), (0.1, "update")])
def test_no_limit_leaves_the_gradient(limit: float | None, by: str) -> None:
    ours, theirs = parameters_with_gradients(), parameters_with_gradients()
    clip(ours, limit, by)  # type: ignore[arg-type]
    assert all(map(torch.equal, gradients(ours), gradients(theirs)))


def test_a_parameter_without_gradient_is_left_out() -> None:
    parameters = [*parameters_with_gradients(), nn.Parameter(torch.zeros(2))]
    assert clip(parameters, 1.0, "norm").isfinite()


def test_by_update_limits_the_step_of_the_optimiser() -> None:
    parameters = parameters_with_gradients()
    before = [parameter.detach().clone() for parameter in parameters]
    free = parameters_with_gradients()
    torch.optim.Adam(free, lr=0.1).step()
    way = [new.detach() - old for new, old in zip(free, before, strict=True)]
    length = total_norm(way).item()  # Adam's first step moves every element by lr, whatever the gradient
    assert length == pytest.approx(0.1 * sum(p.numel() for p in parameters) ** 0.5, rel=1e-4)

    clipped_update(parameters, 0.05, torch.optim.Adam(parameters, lr=0.1).step)
    clipped = [new.detach() - old for new, old in zip(parameters, before, strict=True)]
    assert total_norm(clipped).item() == pytest.approx(0.05, rel=1e-4)
    for short, long in zip(clipped, way, strict=True):
        torch.testing.assert_close(short, long * 0.05 / length, rtol=1e-3, atol=1e-6)


def test_a_short_update_is_left_as_it_is() -> None:
    ours, theirs = parameters_with_gradients(), parameters_with_gradients()
    clipped_update(ours, 100.0, torch.optim.SGD(ours, lr=0.1).step)
    torch.optim.SGD(theirs, lr=0.1).step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
