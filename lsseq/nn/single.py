"""What layers have in common that are a cell in a loop: one layer, time first, no back end but the reference.

Shape letters: T time, B batch, I input, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsseq.nn.kernels.dispatch import Choice, describe


class SingleLayer(nn.Module):
    """Base of the recurrences that have no kernels of their own; they read x (T, B, I)."""

    num_layers = 1
    input_size: int
    """I."""
    hidden_size: int
    """H."""

    def _register(
        self, shapes: dict[str, tuple[int, ...]], device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        """Parameters of these names and shapes, without values yet."""
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    def _of(self, name: str) -> Tensor:
        """The parameter of a name."""
        found: Tensor = getattr(self, name)
        return found

    def _check(self, x: Tensor, *states: Tensor) -> None:
        """Raises ValueError unless an input is (T, B, I), T > 0, and each state (1, B, H)."""
        name = type(self).__name__
        if x.dim() != 3 or len(x) == 0 or x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: expected an input (T, B, {self.input_size}) with T > 0, got {tuple(x.shape)}")
        shape = (1, x.shape[1], self.hidden_size)
        for state in states:
            if state.shape != shape:
                raise ValueError(f"{name}: expected a state {shape}, got {tuple(state.shape)}")

    def choose_backend(self, training: bool, x: Tensor | None = None) -> Choice:
        """The back end, for whatever input: there is but one."""
        del training, x
        return Choice("reference", "there are no kernels of its own")

    def flops(self) -> int:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""
        raise NotImplementedError

    def explain(self) -> str:
        """Which back end computes this layer and why, in one line."""
        choice = self.choose_backend(training=True)
        return f"{type(self).__name__}: {choice.backend} ({describe(choice.backend, 'cpu')}): {choice.reason}"
