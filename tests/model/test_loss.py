"""The chunked cross-entropy against PyTorch's on all logits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lsseq.model import loss
from lsseq.model.loss import IGNORED, each_nll, total_nll

N, H, V = 23, 5, 11


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    x, w, b = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((N, H), (V, H), (V,)))
    y = torch.randint(0, V, (N,))
    y[[3, 7]] = IGNORED
    return x, w, b, y


@pytest.mark.parametrize("rows", [1, 7, N - 1, N])
def test_value_and_gradients_are_those_of_cross_entropy(rows: int) -> None:
    x, w, b, y = inputs()
    ours = total_nll(x, w, b, y, rows)
    theirs = F.cross_entropy(F.linear(x, w, b), y, ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    for mine, other in zip(
        torch.autograd.grad(0.3 * ours, (x, w, b)), torch.autograd.grad(0.3 * theirs, (x, w, b)), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-14)


def test_gradcheck() -> None:
    x, w, b, y = inputs()
    assert torch.autograd.gradcheck(lambda *args: total_nll(*args, y, rows=4), (x, w, b))
    assert torch.autograd.gradcheck(lambda *args: total_nll(*args, None, y, rows=4), (x, w))


def test_gradients_only_where_they_are_wanted() -> None:
    x, w, b, y = inputs()
    total = total_nll(x.detach(), w.detach(), b, y, rows=1)
    total.backward()
    assert x.grad is None
    assert w.grad is None
    torch.testing.assert_close(
        b.grad, torch.autograd.grad(F.cross_entropy(F.linear(x, w, b), y, reduction="sum"), b)[0]
    )
    with torch.no_grad():
        torch.testing.assert_close(total_nll(x, w, b, y, rows=1), total.detach())


def test_each_token_against_the_definition() -> None:
    x, w, b, y = inputs()
    x, w, b = x.detach(), w.detach(), b.detach()
    nll = each_nll(x, w, b, y, rows=3)
    for n in range(N):
        logits = [sum(float(w[v, h]) * float(x[n, h]) for h in range(H)) + float(b[v]) for v in range(V)]
        expected = 0.0 if y[n] == IGNORED else math.log(sum(map(math.exp, logits))) - logits[y[n]]
        assert float(nll[n]) == pytest.approx(expected, rel=1e-12)


def test_no_tokens_have_no_loss() -> None:
    x, w, b, y = inputs()
    total_nll(x[:0], w, b, y[:0]).backward()
    assert w.grad.abs().sum() == 0
    assert each_nll(x[:0], w, b, y[:0]).shape == (0,)


def test_large_logits_do_not_overflow() -> None:
    x, w, b, y = inputs(torch.float32)
    for scale in (1e4, -1e4):
        total = total_nll(x, w * scale, b, y, rows=5)
        expected = F.cross_entropy(F.linear(x.double(), w.double() * scale, b.double()), y, reduction="sum")
        torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=0)
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(total, (x, w, b)))


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_autocast_gives_a_float32_loss_and_gradients_of_the_parameters_type(narrow: torch.dtype) -> None:
    x, w, b, y = inputs(torch.float32)
    with torch.autocast("cpu", narrow):
        chunked, plain = total_nll(x, w, b, y, rows=2), total_nll(x, w, b, y)
    assert chunked.dtype == plain.dtype == torch.float32
    torch.testing.assert_close(chunked, plain)
    for mine, other in zip(torch.autograd.grad(chunked, (x, w, b)), torch.autograd.grad(plain, (x, w, b)), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, other, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_rows_are_multiplied_as_few_are(biased: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    x, w = (torch.randn(*size, dtype=dtype, requires_grad=True) for size in ((90, 70), (150, 70)))
    b = torch.randn(150, dtype=dtype, requires_grad=True) if biased else None
    y = torch.randint(150, (90,))
    leaves = [leaf for leaf in (x, w, b) if leaf is not None]
    chunked, plain = total_nll(x, w, b, y, rows=40), F.cross_entropy(F.linear(x, w, b), y, reduction="sum")
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(chunked, plain, **tolerance)
    found, wanted = torch.autograd.grad(chunked, leaves), torch.autograd.grad(plain, leaves)
    torch.testing.assert_close(found, wanted, **tolerance)
    with torch.no_grad():
        each = F.cross_entropy(F.linear(x, w, b), y, reduction="none")
        torch.testing.assert_close(each_nll(x, w, b, y, rows=40), each, **tolerance)


def test_logits_are_never_held_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    logits = loss._logits

    def watched(*args: Tensor) -> Tensor:
        out = logits(*args)
        sizes.append(out.numel())
        return out

    monkeypatch.setattr(loss, "_logits", watched)
    x, w, b, y = inputs()
    total_nll(x, w, b, y, rows=5).backward()
    each_nll(x, w, b, y, rows=5)
    assert max(sizes) == 5 * V
    assert sum(sizes) == 2 * N * V


def test_a_large_vocabulary_is_chunked_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "FEW_LOGITS", 6 * V)
    monkeypatch.setattr(loss, "ROWS", 4)
    x, w, b, y = inputs()
    before = total_nll(x, w, b, y, rows=N), each_nll(x, w, b, y, rows=N)
    rows: list[int] = []
    logits = loss._logits
    monkeypatch.setattr(loss, "_logits", lambda *args: (rows.append(len(args[0])), logits(*args))[1])
    torch.testing.assert_close((total_nll(x, w, b, y), each_nll(x, w, b, y)), before)
    assert rows == 2 * [6, 6, 6, 5]
