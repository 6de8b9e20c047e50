"""Recurrent batch normalisation: the equations, the statistics of each step, what is beyond them, recalibration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import lsseq.nn as lnn
from lsseq.nn.parts.statistics import StepNorm

T, B, I, H, N = 5, 6, 3, 4, 4


def made(**options: Any) -> lnn.BatchNormLSTM:
    torch.manual_seed(0)
    model = lnn.BatchNormLSTM(I, H, N, **options).double()
    for name, parameter in model.named_parameters():
        if name.startswith("norm"):
            torch.nn.init.normal_(parameter, 0.5, 0.2)
    return model


def x_of(T: int = T, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(T, B, I).double()


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def by_the_paper(model: Any, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Cooijmans et al. 2017 with `torch.nn.functional.batch_norm`, and what was normalised in each step."""

    def norm(u: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.batch_norm(u, None, None, gain, bias, training=True)

    h = c = x.new_zeros(x.shape[1], H)
    outputs, seen = [], []
    for x_t in x:
        from_x, from_h = x_t @ model.weight_ih_l0.t(), h @ model.weight_hh_l0.t()
        gates = norm(from_x, model.norm_ih_l0) + norm(from_h, model.norm_hh_l0) + model.bias_ih_l0
        i, f, g, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(norm(c, model.norm_c_l0, model.norm_c_bias_l0))
        outputs.append(h)
        seen.append((from_x, from_h, c))
    return torch.stack(outputs), seen


def test_the_equations_of_the_paper() -> None:
    model, x = made(), x_of()
    output, (h, _, count) = model(x)
    close(output, by_the_paper(model, x)[0])
    close(h[0], output[-1])
    assert (count == T).all()


def test_statistics_of_each_step_are_averaged() -> None:
    """With the biased variance; what is beyond the last step goes into its statistics."""
    model, x = made(momentum=0.1), x_of()
    _, seen = by_the_paper(model, x)
    model(x)
    for number, norm in enumerate((model.statistics_ih, model.statistics_hh, model.statistics_c)):
        means = torch.stack([step[number].mean(0) for step in seen])
        variances = torch.stack([step[number].var(0, correction=0) for step in seen])
        mean, variance = 0.1 * means[:N], 0.9 + 0.1 * variances[:N]
        mean[-1] = 0.9 * mean[-1] + 0.1 * means[N]
        variance[-1] = 0.9 * variance[-1] + 0.1 * variances[N]
        close(norm.mean, mean)
        close(norm.variance, variance)


def test_evaluation_takes_the_statistics_and_no_other_row() -> None:
    model = made()
    for seed in range(3):
        model(x_of(seed=seed))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    x = x_of(9, seed=5)
    whole, _ = model(x)
    close(model(x[:, 2:3])[0], whole[:, 2:3])
    first, state = model(x[:3])
    close(torch.cat([first, model(x[3:], state)[0]]), whole)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    other = model(x[3:])[0]
    assert (other[0] != whole[3]).all()
    # Rows may be at different steps here, as when one text ends before another.
    rows = [model(x[:3])[1], model(x[:1])[1]]
    mixed = tuple(torch.cat([a[:, :1], b[:, 1:2]], dim=1) for a, b in zip(*rows, strict=True))
    both = model(x[3:5, :2], mixed)[0]
    close(both[:, 0], whole[3:5, 0])
    close(both[:, 1], model(x[3:5], rows[1])[0][:, 1])


def test_steps_go_on_counting_in_training() -> None:
    whole, parts = made(momentum=0.5), made(momentum=0.5)
    x = x_of(N)
    output, _ = whole(x)
    first, state = parts(x[:1])
    close(torch.cat([first, parts(x[1:], lnn.state.detach_state(state))[0]]), output)
    for name, value in whole.state_dict().items():
        close(parts.state_dict()[name], value)


def test_recalibration_is_a_plain_mean_without_noise() -> None:
    model = made(zoneout_cell=0.5, zoneout_hidden=0.3)
    model(x_of())
    batches = [x_of(N, seed) for seed in range(2, 5)]
    generator = torch.get_rng_state()
    with lnn.recalibrating(model), torch.no_grad():
        for x in batches:
            model(x)
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training
    products = torch.stack([x @ model.weight_ih_l0.t() for x in batches])  # type: ignore[operator]
    close(model.statistics_ih.mean, products.mean(2).mean(0))  # type: ignore[arg-type]
    close(model.statistics_ih.variance, products.var(2, correction=0).mean(0))  # type: ignore[arg-type]
    model.eval()
    before = model.statistics_c.mean.clone()  # type: ignore[operator, union-attr]
    model(batches[0])
    assert torch.equal(model.statistics_c.mean, before)  # type: ignore[arg-type]


def test_zoneout_is_applied_last() -> None:
    model, x = made(zoneout_cell=1.0, zoneout_hidden=1.0), x_of()
    torch.manual_seed(3)
    h, c = torch.randn(2, 1, B, H).double()
    output, (last_h, last_c, _) = model(x, (h, c, torch.zeros(1, B, 1)))
    assert torch.equal(output, h.expand(T, B, H))
    assert torch.equal(last_h, h)
    assert torch.equal(last_c, c)
    model = made(zoneout_cell=0.5, zoneout_hidden=0.5)
    torch.manual_seed(4)
    first = model(x)[0]
    assert not torch.equal(first, model(x)[0])


def test_scaling_the_recurrent_weights_changes_nothing_in_training() -> None:
    model, x = made(), x_of()
    output, _ = model(x)
    with torch.no_grad():
        model.weight_hh_l0.mul_(3)  # type: ignore[operator, union-attr]
    torch.testing.assert_close(model(x)[0], output, rtol=0, atol=5e-3)  # but for ε


def test_gradients() -> None:
    model, x = made(), x_of(3).requires_grad_()
    torch.manual_seed(3)
    h, c = torch.randn(2, 1, B, H).double().requires_grad_().unbind(0)

    def total(x: Tensor, h: Tensor, c: Tensor, *_: Tensor) -> Tensor:
        return model(x, (h, c, torch.zeros(1, B, 1)))[0].square().sum()

    for training in (True, False):
        model.train(training)
        parameters = [p for name, p in model.named_parameters() if "weight_hh" in name or "norm" in name]
        assert torch.autograd.gradcheck(total, (x, h, c, *parameters))


def test_start() -> None:
    model = lnn.BatchNormLSTM(I, H, N)
    assert (model.norm_ih_l0 == 0.1).all()
    assert (model.norm_c_l0 == 0.1).all()
    assert not model.norm_c_bias_l0.any()  # type: ignore[operator, union-attr]
    assert {tuple(part.mean.shape) for part in model.modules() if isinstance(part, StepNorm)} == {(N, 4 * H), (N, H)}


def test_requests_that_are_wrong() -> None:
    model, x = made(), x_of()
    with pytest.raises(ValueError, match="two rows or more, all at the same step"):
        model(x[:, :1])
    with pytest.raises(ValueError, match="two rows or more, all at the same step"):
        model(x, (*model.zero_state(x)[:2], torch.arange(B).view(1, B, 1)))
    with pytest.raises(ValueError, match=r"expected an input \(T, B, 3\) with T > 0"):
        model(x[..., 1:])
    with pytest.raises(ValueError, match=r"expected a state \(1, 6, 4\), got \(1, 5, 4\)"):
        model(x, model.zero_state(x[:, 1:]))
    with pytest.raises(ValueError, match=r"expected counts \(1, 6, 1\), got \(1, 5, 1\)"):
        model(x, (*model.zero_state(x)[:2], torch.zeros(1, B - 1, 1)))
    with pytest.raises(ValueError, match="expected positive sizes"):
        lnn.BatchNormLSTM(I, H, 0)
