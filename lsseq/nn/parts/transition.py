"""What a state or an input is multiplied by: a matrix for each gate, whole or of low rank.

Shape letters: G gates, H units, S size of the state (H, or the size that an LSTM projects it to) or of the input,
r rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Product = Callable[[Tensor, Tensor], Tensor]
"""Of a matrix (N, K) with one (K, M)."""
Linear = Callable[..., Tensor]
"""Of x (…, K), a weight (M, K) and a bias (M,) or nothing, as `torch.nn.functional.linear`."""


class Dense:
    """The matrices as they are, those of all gates on top of each other."""

    def __init__(self, weight: Tensor) -> None:
        """`weight` is (G·H, S)."""
        self.weight = weight
        self._turned = weight.t()

    @property
    def size(self) -> int:
        """S."""
        return self.weight.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    def product(self, state: Tensor, bias: Tensor | None = None, *, linear: Linear = F.linear) -> Tensor:
        """W h + b of each row of a state (…, S): (…, G·H)."""
        return linear(state, self.weight, bias)

    def add_product(self, x: Tensor, state: Tensor) -> Tensor:
        """x + W h of each row of a state (B, S): (B, G·H)."""
        return torch.addmm(x, state, self._turned)

    def split(self, rows: list[int]) -> list[Transition]:
        """Those of so many rows each."""
        return [Dense(part) for part in torch.split(self.weight, rows)]

    def compose(self) -> Tensor:
        """The whole matrix (G·H, S)."""
        return self.weight

    @property
    def tensors(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The matrix, and nothing in the place of R and D."""
        return self.weight, None, None


@dataclass(frozen=True, eq=False)
class LowRank:
    """W = L R + diag(D) for each gate, never formed but by `compose` (Miceli Barone 2016).

    The state is multiplied by the factors one after the other: L (R h) + D ⊙ h. This product defines the result; the
    composed matrix gives it up to rounding.
    """

    left: Tensor  # (G·H, r): L of each gate
    right: Tensor  # (G·r, S): R of each gate; or (r, S), one for all gates
    diagonal: Tensor | None  # (G·H,), where S = H: D of each gate

    @property
    def size(self) -> int:
        """S."""
        return self.right.shape[1]

    @property
    def rank(self) -> int:
        """r."""
        return self.left.shape[1]

    @property
    def tied(self) -> bool:
        """Whether there is one R for all gates; with one gate it is its own."""
        return len(self.right) == self.rank

    @property
    def dtype(self) -> torch.dtype:
        return self.left.dtype

    def product(self, state: Tensor, bias: Tensor | None = None, *, linear: Linear = F.linear) -> Tensor:
        """L (R h) + D ⊙ h + b of each row of a state (…, S): (…, G·H)."""
        narrow = linear(state, self.right)
        if self.tied:
            result = linear(narrow, self.left)
        else:
            lefts = self.left.chunk(len(self.right) // self.rank)
            parts = zip(torch.split(narrow, self.rank, dim=-1), lefts, strict=True)
            result = torch.cat([linear(part, left) for part, left in parts], dim=-1)
        if self.diagonal is not None:
            result = result + (self.diagonal.view(-1, self.size) * state.unsqueeze(-2)).flatten(-2)
        return result if bias is None else result + bias

    def add_product(self, x: Tensor, state: Tensor) -> Tensor:
        """x + L (R h) + D ⊙ h of each row of a state (B, S): (B, G·H)."""
        return x + self.product(state)

    def split(self, rows: list[int]) -> list[Transition]:
        """Those of so many rows each, whole gates."""
        shares = [count * len(self.right) // len(self.left) for count in rows]
        rights = [self.right] * len(rows) if self.tied else torch.split(self.right, shares)
        none = [None] * len(rows)
        diagonals = none if self.diagonal is None else torch.split(self.diagonal, rows)
        return [LowRank(*parts) for parts in zip(torch.split(self.left, rows), rights, diagonals, strict=True)]

    def compose(self) -> Tensor:
        """The whole matrix (G·H, S), in the factors' own format under autocast too; gradients reach the factors."""
        with torch.autocast(self.left.device.type, enabled=False):
            if self.tied:
                weight = self.left @ self.right
            else:
                right = self.right.view(-1, self.rank, self.size)
                weight = torch.bmm(self.left.view(len(right), -1, self.rank), right).flatten(0, 1)
            if self.diagonal is not None:
                diagonals = weight.view(-1, self.size, self.size).diagonal(dim1=-2, dim2=-1)
                diagonals += self.diagonal.view(-1, self.size)
        return weight

    def through_left(self, gradient: Tensor, multiply: Product) -> Tensor:
        """From the gradient of the products (N, G·H) that of R times the states, (N, G·r) or (N, r)."""
        if self.tied:
            return multiply(gradient, self.left)
        sources = len(self.right) // self.rank
        parts = zip(gradient.chunk(sources, dim=-1), self.left.chunk(sources), strict=True)
        return torch.cat([multiply(part, left) for part, left in parts], dim=-1)

    @property
    def tensors(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """L, R and D."""
        return self.left, self.right, self.diagonal

    def initialise(self, half_width: float) -> None:
        """Start anew, so that an entry of L R has the variance of a uniform one in ±half_width.

        L and R are uniform, with the deviation (σ² / r)^¼ each for the variance σ² = half_width² / 3. (Both by Glorot,
        as in the author's code, makes the product of a low rank too small.) D is uniform in ±0.01, as in that code.
        """
        limit = math.sqrt(3.0) * (half_width**2 / 3.0 / self.rank) ** 0.25
        nn.init.uniform_(self.left, -limit, limit)
        nn.init.uniform_(self.right, -limit, limit)
        if self.diagonal is not None:
            nn.init.uniform_(self.diagonal, -0.01, 0.01)


@dataclass(frozen=True, eq=False)
class Stacked:
    """Weights of the same state on top of each other, each of its own structure."""

    parts: tuple[Dense | LowRank, ...]

    @property
    def size(self) -> int:
        """S."""
        return self.parts[0].size

    def product(self, state: Tensor) -> Tensor:
        """The products with each row of a state (…, S), side by side."""
        return torch.cat([part.product(state) for part in self.parts], dim=-1)

    def compose(self) -> Tensor:
        """The whole matrix; gradients reach the parts."""
        return torch.cat([part.compose() for part in self.parts])


Transition = Dense | LowRank


def transition(weight: Tensor, right: Tensor | None, diagonal: Tensor | None = None) -> Transition:
    """The one with these `tensors`."""
    return Dense(weight) if right is None else LowRank(weight, right, diagonal)


def factor_shapes(
    gates: int, units: int, size: int, rank: int, *, diagonal: bool, tied: bool, option: str = "rank"
) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters of a `LowRank`, by what is added to the name of the weight that they replace.

    Raises:
        ValueError: the rank, which `option` names, is none of a (units, size) matrix; or this is not square and has no
            diagonal.
    """
    most = min(units, size)
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= most:
        raise ValueError(f"{option} should be an integer in range [1, {most}], got {rank!r}")
    if diagonal and units != size:
        raise ValueError(f"diagonal=True needs square matrices, and proj_size={size} makes them {units} by {size}")
    shapes: dict[str, tuple[int, ...]] = {
        "left": (gates * units, rank),
        "right": (rank if tied else gates * rank, size),
    }
    return shapes | ({"diag": (gates * units,)} if diagonal else {})


def weight_shapes(
    name: str, gates: int, units: int, size: int, rank: int | None, *, diagonal: bool = False, tied: bool = False
) -> dict[str, tuple[int, ...]]:
    """The parameters of a weight: NAME itself without a rank; else its factors, NAME_left and so on.

    Raises:
        ValueError: as `factor_shapes`; or a diagonal or a shared factor without a rank.
    """
    if rank is not None:
        shapes = factor_shapes(gates, units, size, rank, diagonal=diagonal, tied=tied)
        return {f"{name}_{part}": shape for part, shape in shapes.items()}
    if diagonal or tied:
        raise ValueError(f"{'diagonal' if diagonal else 'tied_rank'}=True needs a rank")
    return {name: (gates * units, size)}


def transition_of(module: nn.Module, name: str) -> Transition:
    """The weight of a module that has its parameters by the names of `weight_shapes`."""
    left, right, diagonal = (getattr(module, f"{name}_{part}", None) for part in ("left", "right", "diag"))
    return transition(getattr(module, name) if left is None else left, right, diagonal)
