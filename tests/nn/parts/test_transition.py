"""Low-rank matrices by themselves: what they are, and how they start."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lsseq.nn.parts.transition import Dense, LowRank, Stacked, factor_shapes, transition_of, weight_shapes

G, H, R = 4, 7, 3


def made(gates: int = G, units: int = H, rank: int = R, *, diagonal: bool = True, tied: bool = False) -> LowRank:
    torch.manual_seed(0)
    shapes = factor_shapes(gates, units, units, rank, diagonal=diagonal, tied=tied)
    left, right, *rest = (torch.randn(shape, dtype=torch.float64) for shape in shapes.values())
    return LowRank(left, right, rest[0] if rest else None)


def by_hand(weight: LowRank, gates: int) -> Tensor:
    """L R + diag(D) of one gate after the other."""
    lefts = weight.left.chunk(gates)
    rights = [weight.right] * gates if weight.tied else weight.right.chunk(gates)
    diagonals = weight.diagonal.chunk(gates) if weight.diagonal is not None else [torch.zeros(H)] * gates
    return torch.cat([left @ right + torch.diag(d) for left, right, d in zip(lefts, rights, diagonals, strict=True)])


@pytest.mark.parametrize("diagonal", [False, True], ids=["no diagonal", "diagonal"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("gates", [1, 3, 4])
def test_a_product_is_that_of_the_composed_matrix(gates: int, tied: bool, diagonal: bool) -> None:
    weight = made(gates, diagonal=diagonal, tied=tied)
    whole = by_hand(weight, gates)
    torch.testing.assert_close(weight.compose(), whole, rtol=1e-12, atol=1e-12)
    state, x, bias = (torch.randn(5, n, dtype=torch.float64) for n in (H, gates * H, gates * H))
    torch.testing.assert_close(weight.product(state, bias[0]), state @ whole.t() + bias[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weight.add_product(x, state), x + state @ whole.t(), rtol=1e-12, atol=1e-12)
    assert torch.equal(Dense(whole).product(state), state @ whole.t())


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_parts_of_the_gates(tied: bool) -> None:
    weight = made(3, tied=tied)
    first, second = weight.split([2 * H, H])
    torch.testing.assert_close(torch.cat([first.compose(), second.compose()]), weight.compose(), rtol=1e-12, atol=1e-12)
    assert isinstance(second, LowRank)
    assert second.right.shape == (R, H)


def test_shared_factors_are_repeated_ones() -> None:
    tied = made(tied=True)
    untied = LowRank(tied.left, tied.right.repeat(G, 1), tied.diagonal)
    assert not untied.tied
    torch.testing.assert_close(untied.compose(), tied.compose(), rtol=1e-12, atol=1e-12)


def test_another_basis_is_the_same_matrix() -> None:
    weight = made(diagonal=False)
    M = torch.randn(R, R, dtype=torch.float64) + 3 * torch.eye(R)
    other = LowRank(weight.left @ M, torch.cat([torch.linalg.inv(M) @ right for right in weight.right.chunk(G)]), None)
    torch.testing.assert_close(other.compose(), weight.compose(), rtol=1e-10, atol=1e-12)


def test_a_diagonal_makes_the_rank_full() -> None:
    rank = torch.linalg.matrix_rank
    assert rank(made(1, diagonal=False).compose()) == R
    assert rank(made(1, diagonal=True).compose()) == H


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_gradients_reach_the_factors_through_the_composed_matrix(tied: bool) -> None:
    weight = made(tied=tied)
    parts = [part.requires_grad_() for part in (weight.left, weight.right, weight.diagonal) if part is not None]
    state, upstream = torch.randn(5, H, dtype=torch.float64), torch.randn(5, G * H, dtype=torch.float64)
    found = torch.autograd.grad((weight.product(state) * upstream).sum(), parts)
    composed = torch.autograd.grad((state @ weight.compose().t() * upstream).sum(), parts)
    for a, b in zip(found, composed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_composed_in_the_format_of_the_factors_under_autocast() -> None:
    weight = LowRank(torch.randn(8, 2), torch.randn(4, 4), torch.randn(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = weight.compose()
    assert torch.equal(under, weight.compose())
    assert under.dtype == torch.float32


@pytest.mark.parametrize("rank", [1, 8, 64])
def test_entries_start_with_the_variance_asked_for(rank: int) -> None:
    torch.manual_seed(0)
    weight = LowRank(torch.empty(4 * 256, rank), torch.empty(4 * rank, 256), torch.empty(4 * 256))
    weight.initialise(1 / math.sqrt(256))
    product = torch.cat([a @ b for a, b in zip(weight.left.chunk(4), weight.right.chunk(4), strict=True)])
    assert product.std().item() == pytest.approx(1 / math.sqrt(3 * 256), rel=0.1)
    assert weight.diagonal is not None
    assert 0.009 < weight.diagonal.abs().max() <= 0.01


def test_shapes() -> None:
    assert factor_shapes(4, 7, 7, 3, diagonal=True, tied=False) == {"left": (28, 3), "right": (12, 7), "diag": (28,)}
    assert factor_shapes(4, 7, 5, 3, diagonal=False, tied=True) == {"left": (28, 3), "right": (3, 5)}


@pytest.mark.parametrize("rank", [0, -1, 8, 2.0, True])
def test_ranks_that_a_matrix_cannot_have(rank: object) -> None:
    with pytest.raises(ValueError, match=r"^rank should be an integer in range \[1, 7\], got "):
        factor_shapes(4, 7, 7, rank, diagonal=False, tied=False)  # type: ignore[arg-type]


def test_no_diagonal_without_square_matrices() -> None:
    with pytest.raises(ValueError, match="proj_size=5 makes them 7 by 5"):
        factor_shapes(4, 7, 5, 3, diagonal=True, tied=False)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_the_way_back_through_the_left_factors(tied: bool) -> None:
    weight = made(tied=tied, diagonal=False)
    narrow = (torch.randn(5, H, dtype=torch.float64) @ weight.right.t()).requires_grad_()
    sources = narrow.chunk(1 if tied else G, dim=1) * (G if tied else 1)
    product = torch.cat([own @ left.t() for own, left in zip(sources, weight.left.chunk(G), strict=True)], dim=1)
    upstream = torch.randn_like(product)
    (wanted,) = torch.autograd.grad(product, narrow, upstream)
    torch.testing.assert_close(weight.through_left(upstream, torch.mm), wanted, rtol=1e-12, atol=1e-12)


def test_weights_on_top_of_each_other() -> None:
    low, row = made(), Dense(torch.randn(1, H, dtype=torch.float64))
    both, state = Stacked((low, row)), torch.randn(5, H, dtype=torch.float64)
    assert both.size == H
    assert torch.equal(both.compose(), torch.cat([low.compose(), row.weight]))
    torch.testing.assert_close(both.product(state), state @ both.compose().t(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize(("rank", "diagonal"), [(None, False), (R, False), (R, True)])
def test_a_weight_of_a_module_by_its_name(rank: int | None, diagonal: bool, tied: bool) -> None:
    if rank is None and tied:
        with pytest.raises(ValueError, match="tied_rank=True needs a rank"):
            weight_shapes("w", G, H, H, rank, tied=tied)
        return
    module = nn.Module()
    shapes = weight_shapes("w", G, H, H, rank, diagonal=diagonal, tied=tied)
    for name, shape in shapes.items():
        module.register_parameter(name, nn.Parameter(torch.randn(shape)))
    weight = transition_of(module, "w")
    assert isinstance(weight, Dense if rank is None else LowRank)
    assert weight.compose().shape == (G * H, H)
    tensors = [tensor for tensor in weight.tensors if tensor is not None]
    assert all(a is b for a, b in zip(tensors, module.parameters(), strict=True))
