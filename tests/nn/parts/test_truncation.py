"""The nearest matrices of low rank."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lsseq.nn.parts.transition import LowRank
from lsseq.nn.parts.truncation import truncate

G, H = 3, 12


def weight(seed: int = 0) -> Tensor:
    """(G·H, H) with the singular values of a trained matrix, that fall, and a diagonal that stands out."""
    torch.manual_seed(seed)
    decay = torch.exp(-torch.arange(H, dtype=torch.float64) / 4)
    blocks = [torch.randn(H, H, dtype=torch.float64) * decay for _ in range(G)]
    return torch.cat([block + torch.diag(torch.randn(H, dtype=torch.float64)) for block in blocks])


def distance(factors: LowRank, of: Tensor) -> float:
    return float((factors.compose() - of).square().sum())


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("rank", [1, 5, 11])
def test_the_distance_is_what_the_dropped_singular_values_say(rank: int, tied: bool) -> None:
    whole = weight()
    found = truncate(whole, rank, tied=tied, gates=G)
    dropped = [torch.linalg.svdvals(block)[rank:] for block in ([whole] if tied else whole.chunk(G))]
    expected = math.sqrt(sum(float(values.square().sum()) for values in dropped))
    assert math.sqrt(distance(found, whole)) == pytest.approx(expected, rel=1e-10)
    assert found.left.shape == (G * H, rank)
    assert found.right.shape == (rank if tied else G * rank, H)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_no_other_factors_are_nearer(tied: bool) -> None:
    whole, rank = weight(), 4
    best = distance(truncate(whole, rank, tied=tied, gates=G), whole)
    right = torch.randn(rank if tied else G * rank, H, dtype=torch.float64)
    for size in (0.01, 0.3, 1.0):
        found = truncate(whole, rank, tied=tied, gates=G)
        other = LowRank(found.left + size * torch.randn_like(found.left), found.right + size * right, None)
        assert distance(other, whole) > best
    # The best left factors for random right ones.
    rights = [right] if tied else right.chunk(G)
    blocks = [whole] if tied else whole.chunk(G)
    lefts = [block @ torch.linalg.pinv(R) for block, R in zip(blocks, rights, strict=True)]
    assert distance(LowRank(torch.cat(lefts), right, None), whole) > best


def test_structures_that_hold_more_are_never_further() -> None:
    whole = weight()
    for rank in (1, 4, 8):
        found = {
            (tied, diagonal): distance(truncate(whole, rank, tied=tied, diagonal=diagonal, gates=G), whole)
            for tied in (False, True)
            for diagonal in (False, True)
        }
        for diagonal in (False, True):
            assert found[False, diagonal] <= found[True, diagonal]
        for tied in (False, True):
            assert found[tied, True] < found[tied, False]


def test_a_diagonal_is_found() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(40, 2, dtype=torch.float64), torch.randn(2, 40, dtype=torch.float64)
    whole = left @ right + torch.diag(torch.randn(40, dtype=torch.float64))
    energy = float(whole.square().sum())
    assert distance(truncate(whole, 2, diagonal=True), whole) < 1e-3 * energy
    assert distance(truncate(whole, 2), whole) > 1e-2 * energy


def test_turns_only_come_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = weight()
    distances = []
    for rounds in (1, 2, 4, 8):
        monkeypatch.setattr("lsseq.nn.parts.truncation.ROUNDS", rounds)
        distances.append(distance(truncate(whole, 3, tied=True, diagonal=True, gates=G), whole))
    assert distances == sorted(distances, reverse=True)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_factors_are_balanced_and_keep_the_format(tied: bool, diagonal: bool) -> None:
    found = truncate(weight().float(), 4, tied=tied, diagonal=diagonal, gates=G)
    assert found.left.dtype == found.right.dtype == torch.float32
    for left, right in zip(found.left.chunk(1 if tied else G), torch.split(found.right, 4), strict=True):
        torch.testing.assert_close(left.t() @ left, right @ right.t(), rtol=1e-4, atol=1e-4)


def test_the_full_rank_is_the_weight() -> None:
    whole = weight()
    for diagonal in (False, True):
        found = truncate(whole, H, diagonal=diagonal, gates=G)
        torch.testing.assert_close(found.compose(), whole, rtol=1e-10, atol=1e-12)
