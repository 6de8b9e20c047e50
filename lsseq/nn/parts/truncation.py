"""The matrix of low rank that is nearest to a given one, with a diagonal beside it or not.

Shape letters: G gates, H units, S size of the state, r rank, N rows of the matrices that share a factor R.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lsseq.nn.parts.transition import LowRank

ROUNDS = 300
"""Of the search for a diagonal, at most."""
GAIN = 1e-4
"""It ends where a round lowers the squared error by a smaller part."""


def truncate(weight: Tensor, rank: int, *, tied: bool = False, diagonal: bool = False, gates: int = 1) -> LowRank:
    """The L R, or L R + diag(D), for each gate with the least squared distance from a weight (G·H, S).

    Without a diagonal it is the best there is: the weight's largest singular values, of each gate, or of all gates on
    top of each other where they share R (Eckart and Young 1936). The squared distance is the sum of the squares of the
    others. With one, from there on, L, R and D take turns, each the best for the others, so that the distance only
    falls; where it ends it need not be the least of all.

    L and R are balanced: Lᵀ L = R Rᵀ of one gate, for L √S and R √S of the singular values S.

    Args:
        weight: any format; it is computed in float64.
        rank: r, at most min(H, S), for shared factors min(G·H, S).
        tied: the gates share R.
        diagonal: H = S.
        gates: G.

    Returns:
        Factors in the format of the weight.
    """
    blocks = weight.chunk(1 if tied else gates)
    lefts, rights, diagonals = zip(*(_nearest(block.double(), rank, diagonal) for block in blocks), strict=True)
    left, right = torch.cat(lefts).to(weight.dtype), torch.cat(rights).to(weight.dtype)
    return LowRank(left, right, torch.cat(diagonals).to(weight.dtype) if diagonal else None)


def _nearest(weight: Tensor, rank: int, diagonal: bool) -> tuple[Tensor, Tensor, Tensor]:
    """L (N, r), R (r, S) and D (N,), which is 0 without a diagonal, for a weight (N, S)."""
    U, values, V = torch.linalg.svd(weight, full_matrices=False)
    left, right = U[:, :rank] * values[:rank], V[:rank]
    D = weight.new_zeros(len(weight))
    error = values[rank:].square().sum()
    for _ in range(ROUNDS if diagonal else 0):
        D = _diagonals(weight - left @ right).flatten()
        rest = weight.clone()
        _diagonals(rest).sub_(D.view(-1, weight.shape[1]))
        # The best R for an L spans the rows of Lᵀ (W - D); with orthonormal rows, the best L is (W - D) Rᵀ.
        right = torch.linalg.qr(rest.t() @ left).Q.t()
        left = rest @ right.t()
        before, error = error, (rest - left @ right).square().sum()
        if before - error <= GAIN * before:
            break
    U, values, V = torch.linalg.svd(left, full_matrices=False)
    roots = values.sqrt()
    return U * roots, roots.unsqueeze(1) * (V @ right), D


def _diagonals(weight: Tensor) -> Tensor:
    """A view of the diagonals of square matrices on top of each other: (N, S) to (N / S, S)."""
    return weight.view(-1, weight.shape[1], weight.shape[1]).diagonal(dim1=-2, dim2=-1)
