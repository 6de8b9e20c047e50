"""The parameters of a recurrent layer: those of its namesake in `torch.nn`, and those that options add or replace."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from lsseq.nn.cost import weight_flops
from lsseq.nn.kernels.layer import Gains, Weights
from lsseq.nn.parts.dropout import drop_weights
from lsseq.nn.parts.transition import Dense, LowRank, Transition, factor_shapes


class Parameters(nn.RNNBase):
    """Base of `Recurrent`: registers parameters, starts them, and hands them out by layer.

    A `rank` replaces each hidden-to-hidden weight NAME, (G·H, H), by its factors NAME_left (G·H, r) and NAME_right
    (G·r, H), or (r, H) with `tied_rank`, and with `diagonal` NAME_diag (G·H,).
    """

    recurrence: ClassVar[str]
    """Name of the recurrence in the table of kernels."""

    rank: int | None = None
    diagonal: bool = False
    tied_rank: bool = False
    weight_dropout: float = 0.0
    norm: Literal["layer"] | None = None

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _gates(self) -> int:
        return len(cast(Tensor, self.weight_ih_l0)) // self.hidden_size

    def flops(self) -> int:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""
        return weight_flops(self, "weight")

    def _add_parameters(self) -> None:
        """What the options need, freshly started.

        Raises:
            ValueError: a rank that does not fit, or what only makes sense with one.
        """
        if self.rank is not None:
            self._add_factors(self.rank)
        elif self.diagonal or self.tied_rank:
            raise ValueError(f"{'diagonal' if self.diagonal else 'tied_rank'}=True needs a rank")
        if self.norm is not None:
            self._add_gains()

    def _add_factors(self, rank: int) -> None:
        H, S = self.hidden_size, self.proj_size or self.hidden_size
        shapes = factor_shapes(self._gates, H, S, rank, diagonal=self.diagonal, tied=self.tied_rank)
        for name in self._hidden_names():
            delattr(self, name)
            for part, shape in shapes.items():
                self._register(f"{name}_{part}", *shape)
        # The base class has a list of its weights, of which those that are gone must go; it makes the list anew here.
        self._apply(lambda tensor: tensor)  # type: ignore[no-untyped-call]
        self._reset_factors()

    def _add_gains(self) -> None:
        gates = self._gates * self.hidden_size
        for k in range(self.num_layers):
            sizes = {f"norm_ih_l{k}": gates, f"norm_hh_l{k}": gates}
            if self.recurrence == "LSTM":
                sizes[f"norm_c_l{k}"] = self.hidden_size
                if self.bias:
                    sizes[f"norm_c_bias_l{k}"] = self.hidden_size
            for name, size in sizes.items():
                self._register(name, size)
        self._reset_gains()

    def _register(self, name: str, *shape: int) -> None:
        like = cast(Tensor, self.weight_ih_l0)
        self.register_parameter(name, nn.Parameter(torch.empty(shape, device=like.device, dtype=like.dtype)))

    def _hidden_names(self) -> list[str]:
        suffixes = ("", "_reverse")[: self._directions]
        return [f"weight_hh_l{k}{suffix}" for k in range(self.num_layers) for suffix in suffixes]

    # ------------------------------------------------------------------------------------------------------ starting

    def reset_parameters(self) -> None:
        """Uniform in ±1/√H as `torch.nn` does; the gains of a norm are 1 and its biases 0.

        Of a low-rank weight an entry of L R has that variance, and D is uniform in ±0.01.
        """
        super().reset_parameters()
        self._reset_gains()
        if self.rank is not None:
            self._reset_factors()

    def _reset_gains(self) -> None:
        for name, parameter in self.named_parameters():
            if name.startswith("norm_"):
                nn.init.constant_(parameter, 0.0 if "bias" in name else 1.0)

    def _reset_factors(self) -> None:
        for name in self._hidden_names():
            cast(LowRank, self._transition(name)).initialise(1 / math.sqrt(self.hidden_size))

    def flatten_parameters(self) -> None:
        """As `torch.nn` does; nothing with a rank, where cuDNN is given a matrix that is composed in each call."""
        if self.rank is None:
            super().flatten_parameters()

    # ----------------------------------------------------------------------------------------------------- of a layer

    def _transition(self, name: str) -> Transition:
        """The hidden-to-hidden weight of a name, whole or in factors."""
        if self.rank is None:
            return Dense(getattr(self, name))
        return LowRank(*(getattr(self, f"{name}_{part}", None) for part in ("left", "right", "diag")))  # type: ignore[arg-type]

    def _weights(self, layer: int, key: int | None, *, composed: bool) -> list[Weights]:
        """The weights of each direction of a layer, hidden-to-hidden weights dropped where there is a key.

        With `composed`, and where entries are dropped, there is a whole matrix in the place of factors.
        """
        found = []
        for direction, suffix in enumerate(("", "_reverse")[: self._directions]):
            end = f"l{layer}{suffix}"
            hidden = self._transition(f"weight_hh_{end}")
            if key is not None and self.weight_dropout > 0.0:
                mask_of = layer * self._directions + direction
                hidden = Dense(drop_weights(hidden.compose(), self.weight_dropout, key, mask_of))
            elif composed:
                hidden = Dense(hidden.compose())
            others: list[Any] = [getattr(self, f"{kind}_{end}", None) for kind in ("bias_ih", "bias_hh", "weight_hr")]
            found.append(Weights(Dense(getattr(self, f"weight_ih_{end}")), hidden, *others))
        return found

    def _gains(self, layer: int) -> Gains | None:
        if self.norm is None:
            return None
        gains: list[Any] = [getattr(self, f"norm_{of}_l{layer}", None) for of in ("ih", "hh", "c", "c_bias")]
        return Gains(*gains)
