"""What a recurrence's loop over the steps works on, in either pass.

Shape letters: T time, B batch, H hidden, G gates.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lsseq.nn.kernels.cuda.masks import Masks

Arrays = dict[str, Tensor]
"""Tensors by name; absent ones are not there."""


@dataclass(frozen=True)
class Call:
    """One layer of one forward call. `arrays` has

    sums (T, B, G·H): the products with the input, in whose place the forward pass leaves the gates;
    states (T + 1, B, H): the initial output, then those of the steps;
    cells (T + 1, B, H): the same of the cell of an LSTM; (1, B, H) where nothing is saved;
    weight (G·H, H), and where there are any: bias (G·H,) of a GRU's product, gain (G·H,), cell_gain, cell_bias (H,);
    and what else the forward pass adds because the backward pass needs it.
    """

    arrays: Arrays
    masks: Masks
    variant: str
    saves: bool
    """Whether a backward pass follows, or the states of every step are asked for."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """T, B and H."""
        states = self.arrays["states"]
        return len(states) - 1, states.shape[1], states.shape[2]

    def each_step(self, *shape: int) -> Tensor:
        """A new array for a value of every step, or of one where nothing is saved."""
        return self.arrays["sums"].new_empty(self.sizes[0] if self.saves else 1, *shape)


@dataclass(frozen=True)
class Gradients:
    """What the backward pass goes by and leaves."""

    outputs: Tensor  # (T, B, H)
    cells: Tensor | None  # (T, B, H), where the cells of every step were asked for
    state: Tensor  # (B, H): of the state at the step at hand, what comes through the product of the step after
    carry_h: Tensor  # (B, H): and what comes past it
    carry_c: Tensor | None  # (B, H): of the cell of an LSTM
    sums: Tensor  # (T, B, G·H)
