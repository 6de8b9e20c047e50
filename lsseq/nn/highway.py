"""The passthrough highway network: a deep feed-forward network whose layers pass a state on."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lsseq.nn.checks import check_member
from lsseq.nn.parts.transition import LowRank, transition_of, weight_shapes


class Highway(nn.Module):
    """Highway network (Srivastava, Greff and Schmidhuber 2015), as a passthrough network (Miceli Barone 2016): x is a
    state that every layer carries on or replaces, unit by unit, and whose matrices may be of low rank. A layer does

        a, s = W x + b
        t = σ(s)
        x = t ⊙ φ(a) + (1 - t) ⊙ x

    With a rank the two matrices in W are L R each, or with `diagonal` L R + diag(D).

    Args:
        size: n, units of the state.
        num_layers: how many layers.
        rank: r of L (n, r) and R (r, n); whole matrices where None.
        diagonal: whether there is a D. It makes the rank full again, and lets each unit gate its own input.
        tied_rank: whether the two matrices share R.
        tied: whether all layers are the same one, repeated.
        activation: φ.
        gate_bias: what the bias of s starts with; below 0 a new network carries most of its input through.
        device, dtype: of the parameters.

    The parameters of layer k, or with `tied` of layer 0, are `weight_l{k}` (2n, n) and `bias_l{k}` (2n,), the rows of a
    before those of s. With a rank, in the place of the weight are `weight_l{k}_left` (2n, r), `weight_l{k}_right`
    (2r, n), or (r, n) with `tied_rank`, and with `diagonal` `weight_l{k}_diag` (2n,).

    Raises:
        ValueError: a size or a number of layers below 1, a rank that an (n, n) matrix cannot have, an unknown name, or
            a diagonal or a shared factor without a rank.
    """

    def __init__(
        self,
        size: int,
        num_layers: int,
        *,
        rank: int | None = None,
        diagonal: bool = False,
        tied_rank: bool = False,
        tied: bool = False,
        activation: Literal["relu", "tanh"] = "relu",
        gate_bias: float = -1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(size, num_layers) < 1:
            raise ValueError(f"expected a size and a number of layers of at least 1, got {size} and {num_layers}")
        check_member("activation", activation, ("relu", "tanh"))
        self.size, self.num_layers = size, num_layers
        self.rank, self.diagonal, self.tied_rank, self.tied = rank, diagonal, tied_rank, tied
        self.activation, self.gate_bias = activation, gate_bias
        for k in range(1 if tied else num_layers):
            shapes = weight_shapes(f"weight_l{k}", 2, size, size, rank, diagonal=diagonal, tied=tied_rank)
            for name, shape in {**shapes, f"bias_l{k}": (2 * size,)}.items():
                self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Entries of W, or of L R, have the variance of a Glorot uniform matrix, 1/n; D is uniform in ±0.01. The biases
        are 0 and `gate_bias`."""
        half_width = (3.0 / self.size) ** 0.5
        for k in range(1 if self.tied else self.num_layers):
            weight = transition_of(self, f"weight_l{k}")
            if isinstance(weight, LowRank):
                weight.initialise(half_width)
            else:
                nn.init.uniform_(weight.weight, -half_width, half_width)
            a, s = self.get_parameter(f"bias_l{k}").chunk(2)
            nn.init.zeros_(a)
            nn.init.constant_(s, self.gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(…, n) to (…, n).

        Raises:
            ValueError: x has another size.
        """
        if x.dim() == 0 or x.shape[-1] != self.size:
            raise ValueError(f"expected an input (…, {self.size}), got {tuple(x.shape)}")
        activate = torch.relu if self.activation == "relu" else torch.tanh
        for k in range(self.num_layers):
            own = 0 if self.tied else k
            sums = transition_of(self, f"weight_l{own}").product(x, getattr(self, f"bias_l{own}"))
            a, s = sums.to(x.dtype).chunk(2, dim=-1)  # under autocast the state stays in its own format
            x = torch.lerp(x, activate(a), torch.sigmoid(s))
        return x

    def extra_repr(self) -> str:
        """The sizes, and the options that differ from their default."""
        options: dict[str, object] = {"rank": None, "diagonal": False, "tied_rank": False, "tied": False}
        options |= {"activation": "relu", "gate_bias": -1.0}
        shown = [f"{name}={getattr(self, name)}" for name, default in options.items() if getattr(self, name) != default]
        return ", ".join([str(self.size), str(self.num_layers), *shown])
