"""The recurrent highway network: its equations, what it reduces to, its options, more micro-layers than trained."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.random import Draws, Kind, draw_key, first_row

T, B, I, H, K = 6, 3, 4, 5, 3
OPTIONS: list[dict[str, Any]] = [
    {},
    {"norm": "layer"},
    {"rank": 2},
    {"rank": 2, "diagonal": True, "tied_rank": True},
    {"rank": 2, "norm": "layer"},
    {"tied": True},
    {"tied": True, "rank": 2, "norm": "layer"},
]


def made(depth: int = K, backend: Any = "reference", **options: Any) -> lnn.RHN:
    torch.manual_seed(0)
    rhn = lnn.RHN(I, H, depth, backend=backend, **options).double()
    for name, parameter in rhn.named_parameters():
        if name.startswith(("norm", "bias")):
            torch.nn.init.normal_(parameter, 0.5, 0.5)
    return rhn


def x_and_state() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(T, B, I).double(), torch.randn(1, B, H).double()


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def norm(product: Tensor, gain: Tensor | None) -> Tensor:
    if gain is None:
        return product
    centred = product - product.mean(-1, keepdim=True)
    return gain * centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def matrix(rhn: lnn.RHN, k: int) -> Tensor:
    """R of a micro-layer, (2H, H)."""
    if rhn.rank is None:
        return getattr(rhn, f"weight_hh_d{k}")
    left, right = getattr(rhn, f"weight_hh_d{k}_left"), getattr(rhn, f"weight_hh_d{k}_right")
    rights = [right] * 2 if rhn.tied_rank else right.chunk(2)
    whole = torch.cat([a @ b for a, b in zip(left.chunk(2), rights, strict=True)])
    if rhn.diagonal:
        whole = whole + torch.cat([torch.diag(d) for d in getattr(rhn, f"weight_hh_d{k}_diag").chunk(2)])
    return whole


def by_the_paper(rhn: lnn.RHN, x: Tensor, h: Tensor, depth: int) -> Tensor:
    """Zilly et al. 2017, equations 6 to 9, in their own letters."""
    outputs, s = [], h[0]
    for x_t in x:
        for l in range(depth):
            k = 0 if rhn.tied else l
            both = norm(s @ matrix(rhn, k).t(), getattr(rhn, f"norm_hh_d{k}", None))
            both = both + getattr(rhn, f"bias_d{k}")
            if l == 0:
                both = both + norm(x_t @ rhn.weight_ih.t(), getattr(rhn, "norm_ih", None))
            h_l, t_l = torch.tanh(both[:, :H]), torch.sigmoid(both[:, H:])
            s = h_l * t_l + s * (1 - t_l)
        outputs.append(s)
    return torch.stack(outputs)


@pytest.mark.parametrize("depth", [1, K])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_equations_of_the_paper(options: dict[str, Any], depth: int) -> None:
    rhn, (x, h) = made(depth, **options), x_and_state()
    output, state = rhn(x, h)
    expected = by_the_paper(rhn, x, h, depth)
    close(output, expected)
    close(state, expected[-1:])
    close(rhn(x)[0], by_the_paper(rhn, x, torch.zeros_like(h), depth))
    first, between = rhn(x[:2], h)
    close(torch.cat([first, rhn(x[2:], between)[0]]), output)


def test_depth_one_is_a_gru_whose_reset_gate_is_open() -> None:
    rhn, (x, h) = made(1), x_and_state()
    gru = lnn.GRU(I, H).double()
    with torch.no_grad():
        for parameter in gru.parameters():
            parameter.zero_()
        for name in ("weight_ih", "weight_hh", "bias"):
            own = getattr(rhn, name if name == "weight_ih" else f"{name}_d0")
            theirs = getattr(gru, f"{'bias_ih' if name == 'bias' else name}_l0")
            theirs[2 * H :] = own[:H]  # the candidate
            theirs[H : 2 * H] = -own[H:]  # z keeps what the transform gate gives up
        gru.bias_ih_l0[:H] = 50.0  # r = 1
    close(rhn(x, h)[0], gru(x, h)[0])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients(options: dict[str, Any]) -> None:
    rhn, (x, h) = made(2, **options), x_and_state()
    names = [name for name, _ in rhn.named_parameters()]

    def total(x: Tensor, h: Tensor, *parameters: Tensor) -> Tensor:
        output, state = torch.func.functional_call(rhn, dict(zip(names, parameters, strict=True)), (x, h))
        return output.square().sum() + state.sum()

    inputs = [x[:2].requires_grad_(), h.requires_grad_(), *rhn.parameters()]
    assert torch.autograd.gradcheck(total, inputs)


def test_parameters() -> None:
    def count(**options: Any) -> int:
        return sum(p.numel() for p in made(**options).parameters())

    dense, low = 2 * H * H, 2 * 2 * H * 2
    assert count() == 2 * H * I + K * (dense + 2 * H)
    assert count(tied=True) == 2 * H * I + dense + 2 * H
    assert count(rank=2) == 2 * H * I + K * (low + 2 * H)
    assert count(norm="layer") == count() + (1 + K) * 2 * H


def test_start() -> None:
    torch.manual_seed(0)
    rhn = lnn.RHN(64, 64, 2, transform_bias=-3.0, norm="layer")
    for k in range(2):
        bias = getattr(rhn, f"bias_d{k}")
        assert not bias[:64].any()
        assert (bias[64:] == -3).all()
    assert (rhn.norm_ih == 1).all()
    assert 0.12 < rhn.weight_hh_d1.abs().max() <= 1 / 8
    low = lnn.RHN(64, 64, 1, rank=4)
    product = low._hidden(0).compose()
    assert product.std().item() == pytest.approx(1 / math.sqrt(3 * 64), rel=0.1)


# -------------------------------------------------------------------------------------------------------------- noise


def test_zoneout_is_over_a_whole_step() -> None:
    rhn, (x, h) = made(zoneout_hidden=0.4), x_and_state()
    plain = made()
    torch.manual_seed(5)
    output, _ = rhn(x, h)
    torch.manual_seed(5)
    masks = Draws(draw_key()).mask(Kind.ZONEOUT_HIDDEN, 0.4, (T, B, H)).double()
    for t in range(T):
        h_new = plain(x[t : t + 1], h)[1]
        h = masks[t] * h + (1 - masks[t]) * h_new
        close(output[t], h[0])
    rhn.eval()
    h = x_and_state()[1]
    close(rhn(x[:1], h)[1], 0.4 * h + 0.6 * plain(x[:1], h)[1])


def test_state_dropout_has_one_mask_for_a_call() -> None:
    rhn, (x, h) = made(state_dropout=0.4), x_and_state()
    torch.manual_seed(5)
    output, _ = rhn(x, h)
    torch.manual_seed(5)
    kept = ~Draws(draw_key()).mask(Kind.STATE_DROPOUT, 0.4, (1, B, H))[0]
    for row in range(B):
        # What a row's matrices do not read may as well be no column of them.
        thinned = made()
        with torch.no_grad():
            for k in range(K):
                getattr(thinned, f"weight_hh_d{k}").mul_(kept[row].double() / 0.6)
        close(output[:, row : row + 1], thinned(x[:, row : row + 1], h[:, row : row + 1])[0])
    assert torch.equal(rhn.eval()(x, h)[0], made()(x, h)[0])


def test_recurrent_dropout_drops_candidates() -> None:
    """With a mask of its own for each step and micro-layer."""
    rhn, (x, h) = made(recurrent_dropout=0.4), x_and_state()
    torch.manual_seed(5)
    output, _ = rhn(x, h)
    torch.manual_seed(5)
    key = draw_key()
    kept = [~Draws(key, k).mask(Kind.RECURRENT_DROPOUT, 0.4, (T, B, H)) for k in range(K)]
    s = h[0]
    for t in range(T):
        for k in range(K):
            both = s @ getattr(rhn, f"weight_hh_d{k}").t() + getattr(rhn, f"bias_d{k}")
            both = both + x[t] @ rhn.weight_ih.t() if k == 0 else both
            gate = torch.sigmoid(both[:, H:])
            s = s * (1 - gate) + gate * torch.tanh(both[:, :H]) * kept[k][t] / 0.6
        close(output[t], s)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("option", ["zoneout_hidden", "recurrent_dropout", "state_dropout"])
def test_masks_are_those_of_the_rows_of_the_whole_batch(option: str, backend: str) -> None:
    rhn, (x, h) = made(backend=backend, **{option: 0.5}), x_and_state()
    torch.manual_seed(5)
    whole = rhn(x, h)[0]
    torch.manual_seed(5)
    with first_row(1):
        close(rhn(x[:, 1:], h[:, 1:])[0], whole[:, 1:])


# -------------------------------------------------------------------------------------------------------------- steps


def test_more_micro_layers_than_trained() -> None:
    rhn, (x, h) = made(tied=True), x_and_state()
    for steps in (1, 2, 7):
        rhn.steps = steps
        close(rhn(x, h)[0], by_the_paper(rhn, x, h, steps))
    untied = made()
    untied.steps = 2
    close(untied(x, h)[0], by_the_paper(untied, x, h, 2))
    with pytest.raises(ValueError, match="not above the 3 that there are, got 4"):
        untied.steps = 4


def test_training_draws_the_number_of_micro_layers() -> None:
    random = lnn.RandomSteps(mean=2.5, most=5)
    rhn, (x, h) = made(tied=True, random_steps=random), x_and_state()
    expected = [by_the_paper(rhn, x, h, steps) for steps in range(1, 6)]
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        output = rhn(x, h)[0]
        torch.manual_seed(seed)
        steps = random.draw(Draws(draw_key()))
        close(output, expected[steps - 1])
        seen.add(steps)
    assert len(seen) > 2
    close(rhn.eval()(x, h)[0], expected[K - 1])


@pytest.mark.parametrize(("mean", "most"), [(1, 4), (2, 64), (4, 64), (4, 6)])
def test_random_steps(mean: float, most: int) -> None:
    random = lnn.RandomSteps(mean, most)
    drawn = [random.draw(Draws(key * 2654435761 + 17)) for key in range(4000)]
    assert min(drawn) >= 1
    assert max(drawn) <= most
    if most == 64:
        # The variance of Poisson(λ) with λ log-normal of mean m is m + m² (exp(spread²) - 1).
        m = mean - 1
        deviation = math.sqrt(m + m * m * (math.exp(0.25) - 1))
        assert abs(sum(drawn) / 4000 - mean) < 4 * deviation / math.sqrt(4000)
        assert set(Counter(drawn)) >= {1, 2, 3}
    assert random.draw(Draws(5, first_row=3)) == random.draw(Draws(5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "expected positive sizes"),
        ({"zoneout_hidden": 1.5}, "zoneout_hidden should be a number"),
        ({"norm": "batch"}, "norm should be one of"),
        ({"diagonal": True}, "diagonal=True needs a rank"),
        ({"rank": 6}, r"rank should be an integer in range \[1, 5\]"),
        ({"random_steps": lnn.RandomSteps(2, 3)}, "random_steps needs tied=True"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lnn.RHN(I, H, **options)


def test_shapes_that_are_wrong() -> None:
    x, h = x_and_state()
    with pytest.raises(ValueError, match=r"expected an input \(T, B, 4\) with T > 0, got \(0, 3, 4\)"):
        made()(x[:0])
    with pytest.raises(ValueError, match=r"expected a state \(1, 3, 5\), got \(1, 2, 5\)"):
        made()(x, h[:, 1:])
    with pytest.raises(ValueError, match="mean of random steps"):
        lnn.RandomSteps(5, 4)
