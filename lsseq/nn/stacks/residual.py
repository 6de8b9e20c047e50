"""Residual layers above each other, which training may drop or mix.

Shape letters: T time, B batch, H width, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from lsseq.nn.stacks.depth import StochasticDepth
from lsseq.nn.stacks.parts import Stack, norms, width_of
from lsseq.nn.stacks.swapout import Swapout
from lsseq.nn.state import State


class ResidualStack(Stack):
    """Layers of one width that each add to what they read (pre-norm residual network, He et al. 2016):

        u_l = u_{l-1} + f_l(N_l(u_{l-1}))          N: layer norm (Ba et al. 2016) with gain and bias; u_0 = x

    The output is u_L, which is not normalised.

    Args:
        layers: recurrences that read and give (T, B, H), such as `lsseq.nn.LSTM(H, H)` or another stack; each keeps the
            options that it has.
        stochastic_depth: how layers are dropped in training; None: they are not.
        swapout: how units are mixed in training, in the place of `stochastic_depth`.
        dropout: applied to what the second layer and those above read, after the norm, such as `lsseq.nn.Dropout`.

    Raises:
        ValueError: layers of different widths, both kinds of noise, `min_alive` above the number of layers, or layers
            with `norm="batch"` that freeze or are reset in some rows only.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        *,
        stochastic_depth: StochasticDepth | None = None,
        swapout: Swapout | None = None,
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.hidden_size = width_of(layers)
        if stochastic_depth is not None and swapout is not None:
            raise ValueError("stochastic_depth and swapout exclude each other: swapout drops what layers add, too")
        self.layers = nn.ModuleList(layers)
        self.norms = norms(len(layers), self.hidden_size, layers[0])
        self.dropout = dropout
        self.noise: StochasticDepth | Swapout = stochastic_depth or swapout or StochasticDepth(1.0)
        self.noise.check(layers)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads x (T, B, H) on from a state, a tuple with that of each layer: u_L (T, B, H) and the state after it.

        Raises:
            ValueError: shapes that do not fit.
        """
        states = self._states(x, state)
        gates = self.noise.gates(x, len(self.layers), self.training)
        for l, layer in enumerate(self.layers):
            x, states[l] = gates[l](x, states[l], partial(self._read, l), layer)
        return x, tuple(states)

    def _read(self, l: int, u: Tensor) -> Tensor:
        """What layer l reads of the stream u (T, B, H)."""
        normal: Tensor = self.norms[l](u)
        return normal if l == 0 or self.dropout is None else self.dropout(normal)

    def _layers(self) -> list[nn.Module]:
        return list(self.layers)

    def extra_repr(self) -> str:
        return repr(self.noise) if self.noise.random else ""
