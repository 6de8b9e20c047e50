"""Recurrent batch normalisation: the equations, the statistics of each step, what is beyond them, recalibration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import lsseq.nn as lnn
from lsseq.nn.kernels.cpu import native
from lsseq.nn.parts.statistics import step_norms

T, B, I, H, N = 5, 6, 3, 4, 4
CHOSEN: dict[str, Any] = {"backend": "reference"}


@pytest.fixture(autouse=True, params=["reference", "fused"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the models that are made, in each test."""
    if request.param == "fused" and isinstance(native.compiled(), str):
        pytest.skip(native.compiled())
    monkeypatch.setitem(CHOSEN, "backend", request.param)


def made(momentum: float = 0.05, **options: Any) -> lnn.LSTM:
    torch.manual_seed(0)
    model = lnn.LSTM(I, H, norm="batch", norm_steps=N, **CHOSEN, **options).double()
    for norm in step_norms(model):
        norm.momentum = momentum
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
        gates = norm(from_x, model.norm_ih_l0) + norm(from_h, model.norm_hh_l0) + model.bias_ih_l0 + model.bias_hh_l0
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
    for number, norm in enumerate(step_norms(model)):
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
    close(model.statistics_ih_l0.mean, products.mean(2).mean(0))  # type: ignore[arg-type]
    close(model.statistics_ih_l0.variance, products.var(2, correction=0).mean(0))  # type: ignore[arg-type]
    model.eval()
    before = model.statistics_c_l0.mean.clone()  # type: ignore[operator, union-attr]
    model(batches[0])
    assert torch.equal(model.statistics_c_l0.mean, before)  # type: ignore[arg-type]


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
    model = lnn.LSTM(I, H, 2, norm="batch", norm_steps=N)
    for k in range(2):
        gains: list[Any] = [getattr(model, f"norm_{of}_l{k}") for of in ("ih", "hh", "c")]
        assert all((gain == 0.1).all() for gain in gains)
        assert not getattr(model, f"norm_c_bias_l{k}").any()
    shapes = [tuple(norm.mean.shape) for norm in step_norms(model)]
    assert shapes == 2 * [(N, 4 * H), (N, 4 * H), (N, H)]
    assert "norm=batch, norm_steps=4" in repr(model)
    layers = lnn.LSTM(I, H, 2, norm="layer")
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in layers.named_parameters()]


def test_layers_options_and_shapes_compose() -> None:
    """Two layers of low rank, each as one by itself with the whole matrix; recurrent dropout; batch first."""
    model, x = made(num_layers=2, rank=2, diagonal=True, batch_first=True), x_of()
    output, (h, c, count) = model(x.transpose(0, 1))
    assert (output.shape, h.shape, c.shape, count.shape) == ((B, T, H), (2, B, H), (2, B, H), (2, B, 1))
    below = x
    for k in range(2):
        alone = lnn.LSTM(I if k == 0 else H, H, norm="batch", norm_steps=N).double()
        own = {name.replace(f"l{k}", "l0"): value for name, value in model.state_dict().items() if f"l{k}" in name}
        left, right, diagonal = (own.pop(f"weight_hh_l0_{part}") for part in ("left", "right", "diag"))
        gates = [
            l @ r + torch.diag(d) for l, r, d in zip(left.split(H), right.split(2), diagonal.split(H), strict=True)
        ]
        alone.load_state_dict({**own, "weight_hh_l0": torch.cat(gates)})
        below, (last, _, _) = alone(below)
        close(h[k], last[0])
    close(output, below.transpose(0, 1))
    dropped = made(recurrent_dropout=1.0)
    assert not dropped(x)[1][1].any()


def test_without_biases() -> None:
    model, x = made(bias=False), x_of()
    assert not any("bias" in name for name, _ in model.named_parameters())
    whole = made()
    whole.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            if "bias" in name:
                parameter.zero_()
    close(model(x)[0], whole(x)[0])


def test_states_of_every_step_and_without_batch() -> None:
    model, x = made().eval(), x_of()
    every = model.states_of_every_step(x)
    for t in range(T):
        close(every[0][:, t], model(x[: t + 1])[1][0])
        assert (every[2][:, t] == t + 1).all()
    output, (h, _, count) = model(x[:, 1])
    close(output, model(x)[0][:, 1])
    assert (h.shape, count.shape, float(count)) == ((1, H), (1, 1), T)
    h, c, _ = model(x[:2])[1]
    close(model(x, (h, c))[0], model(x, (h, c, torch.zeros(1, B, 1)))[0])


def test_half_formats_count_far() -> None:
    model = lnn.LSTM(I, H, norm="batch", norm_steps=N, dtype=torch.bfloat16).eval()
    x = torch.zeros(300, 1, I, dtype=torch.bfloat16)
    assert float(model(x, model(x)[1])[1][2]) == 600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "batch"}, "norm='batch' and norm_steps, the length of the longest sequence in training, go together"),
        ({"norm_steps": 3}, "norm='batch' and norm_steps, the length of the longest sequence in training, go together"),
        ({"norm": "batch", "norm_steps": 0}, "norm_steps should be at least 1, got 0"),
        ({"norm": "batch", "norm_steps": 3, "recompute": True}, "recompute=True would take the statistics"),
        ({"norm": "batch", "norm_steps": 3, "bidirectional": True}, "cannot serve norm='batch'"),
        ({"norm": "batsch"}, "norm should be one of None, 'layer', 'batch', got 'batsch'"),
    ],
    ids=str,
)
def test_options_that_are_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lnn.LSTM(I, H, **options)


def test_others_have_no_batch_norm() -> None:
    kind: Any
    for kind in (lnn.GRU, lnn.RNN):
        with pytest.raises(ValueError, match="norm should be one of None, 'layer', got 'batch'"):
            kind(I, H, norm="batch")


def test_calls_that_are_wrong() -> None:
    model, x = made(), x_of()
    with pytest.raises(ValueError, match="two rows or more, all at the same step"):
        model(x[:, :1])
    with pytest.raises(ValueError, match="two rows or more, all at the same step"):
        model(x, (*model.zero_state(x)[:2], torch.arange(B).view(1, B, 1)))
    with pytest.raises(RuntimeError, match=r"Expected count size \(1, 6, 1\), got \[1, 5, 1\]"):
        model(x, (*model.zero_state(x)[:2], torch.zeros(1, B - 1, 1)))
