"""The parameters of a recurrent layer: those of its namesake in `torch.nn`, and those that options add or replace."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from lsseq.nn.cost import weight_flops
from lsseq.nn.kernels.dispatch import Choice
from lsseq.nn.kernels.factors import Factors
from lsseq.nn.kernels.layer import Gains, Weights
from lsseq.nn.parts.dropout import drop_weights
from lsseq.nn.parts.statistics import Statistics, StepNorm
from lsseq.nn.parts.transition import Dense, LowRank, factor_shapes, transition_of


def first_device(device: torch.device | str | None, *ranks: int | None) -> torch.device | str | None:
    """Where `torch.nn` is to make its weights: on `meta`, without memory, if factors are to take their place."""
    return device if all(rank is None for rank in ranks) else "meta"


class Parameters(nn.RNNBase):
    """Base of `Recurrent`: registers parameters, starts them, and hands them out by layer.

    A `rank` replaces each hidden-to-hidden weight NAME, (G·H, H), by its factors NAME_left (G·H, r) and NAME_right
    (G·r, H), or (r, H) with `tied_rank`, and with `diagonal` NAME_diag (G·H,). An `input_rank` replaces each
    input-to-hidden weight in the same way, without a diagonal.
    """

    recurrence: ClassVar[str]
    """Name of the recurrence in the table of kernels."""
    gates: ClassVar[int]
    """G."""

    rank: int | None = None
    input_rank: int | None = None
    diagonal: bool = False
    tied_rank: bool = False
    weight_dropout: float = 0.0
    norm: Literal["layer", "batch"] | None = None
    norm_steps: int | None = None

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _factored(self) -> bool:
        """Whether some weights are in factors."""
        return self.rank is not None or self.input_rank is not None

    @property
    def _first(self) -> Tensor:
        """A parameter, for its device and format."""
        return cast(Tensor, getattr(self, self._all_weights[0][0]))

    def _columns(self, layer: int) -> int:
        """The size of what a layer reads."""
        return self.input_size if layer == 0 else (self.proj_size or self.hidden_size) * self._directions

    def flops(self) -> int:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""
        return weight_flops(self, "weight")

    def _add_parameters(self, device: torch.device | str | None) -> None:
        """What the options need, freshly started.

        Raises:
            ValueError: a rank or steps that do not fit, or what only makes sense with them.
        """
        if (self.norm == "batch") != (self.norm_steps is not None):
            raise ValueError("norm='batch' and norm_steps, the length of the longest sequence in training, go together")
        if self.norm_steps is not None and self.norm_steps < 1:
            raise ValueError(f"norm_steps should be at least 1, got {self.norm_steps}")
        if self.diagonal and self.rank is None:
            raise ValueError("diagonal=True needs a rank")
        if self.tied_rank and not self._factored:
            raise ValueError("tied_rank=True needs a rank")
        if self._factored:
            self._put_factors()
            self.to_empty(device=torch.empty(0, device=device).device)
            self.reset_parameters()
        if self.norm is not None:
            self._add_gains()

    def _put_factors(self) -> None:
        """In the place of weights, in the lists too that the base class has of their names."""
        for number, names in enumerate(self._all_weights):
            placed = {name: self._factors_of(name, number // self._directions) for name in names}
            for name, parts in placed.items():
                if parts:
                    delattr(self, name)
                for part, shape in parts.items():
                    self._register(part, *shape)
            names[:] = [part for name, parts in placed.items() for part in (parts or [name])]
        self._flat_weights_names = [name for names in self._all_weights for name in names]

    def _factors_of(self, name: str, layer: int) -> dict[str, tuple[int, ...]]:
        """The parameters in the place of one of the base class; none where it stays."""
        H, S = self.hidden_size, self.proj_size or self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        if name.startswith("weight_hh") and self.rank is not None:
            shapes = factor_shapes(self.gates, H, S, self.rank, diagonal=self.diagonal, tied=self.tied_rank)
        elif name.startswith("weight_ih") and self.input_rank is not None:
            r, columns = self.input_rank, self._columns(layer)
            shapes = factor_shapes(self.gates, H, columns, r, diagonal=False, tied=self.tied_rank, option="input_rank")
        return {f"{name}_{part}": shape for part, shape in shapes.items()}

    def _factors(self, training: bool, states: int | None) -> tuple[Factors | None, tuple[Factors, ...]]:
        """Those of hidden-to-hidden and, layer by layer, of input-to-hidden weights, as far as their cost goes.

        They multiply `states` in a call; many where that is None.
        """
        if not self._factored:
            return None, ()
        hidden, inputs = None, []
        shared = Factors(self.gates, self.hidden_size, rank=1, tied=self.tied_rank)
        if states is not None:
            shared = replace(shared, states=states)
        if self.rank is not None:
            hidden = replace(shared, rank=self.rank, dropped=training and self.weight_dropout > 0.0)
        if self.input_rank is not None:
            of_inputs = replace(shared, rank=self.input_rank)
            for k in range(self.num_layers):
                called = f"input weights of layer {k}" if self.num_layers > 1 else "input weights"
                inputs.append(replace(of_inputs, columns=self._columns(k), called=called))
        return hidden, tuple(inputs)

    def _add_gains(self) -> None:
        gates = self.gates * self.hidden_size
        for k in range(self.num_layers):
            sizes = {f"norm_ih_l{k}": gates, f"norm_hh_l{k}": gates}
            if self.recurrence == "LSTM":
                sizes[f"norm_c_l{k}"] = self.hidden_size
                if self.bias:
                    sizes[f"norm_c_bias_l{k}"] = self.hidden_size
            for name, size in sizes.items():
                self._register(name, size)
            if self.norm_steps is not None:
                for of, size in (("ih", gates), ("hh", gates), ("c", self.hidden_size)):
                    like = self._first
                    norm = StepNorm(size, self.norm_steps, like.device, like.dtype)
                    self.add_module(f"statistics_{of}_l{k}", norm)
        self._reset_gains()

    def _register(self, name: str, *shape: int) -> None:
        like = next(self.parameters())
        self.register_parameter(name, nn.Parameter(torch.empty(shape, device=like.device, dtype=like.dtype)))

    # ------------------------------------------------------------------------------------------------------ starting

    def reset_parameters(self) -> None:
        """Uniform in ±1/√H as `torch.nn` does; gains are 1, of batch norm 0.1, and the biases of norms 0.

        Of a low-rank weight an entry of L R has that variance, and D is uniform in ±0.01.
        """
        super().reset_parameters()
        self._reset_gains()
        for name in [name for names in self._all_weights for name in names if name.endswith("_left")]:
            weight = transition_of(self, name.removesuffix("_left"))
            cast(LowRank, weight).initialise(1 / math.sqrt(self.hidden_size))

    def _reset_gains(self) -> None:
        for name, parameter in self.named_parameters():
            if name.startswith("norm_"):
                # Batch norm at 1 would saturate the tanh, so that gradients vanish (Cooijmans et al. 2017, section 4).
                gain = 0.1 if self.norm == "batch" else 1.0
                nn.init.constant_(parameter, 0.0 if "bias" in name else gain)

    def flatten_parameters(self) -> None:
        """As `torch.nn` does; nothing with a rank, where cuDNN is given a matrix that is composed in each call."""
        if not self._factored:
            super().flatten_parameters()

    # ----------------------------------------------------------------------------------------------------- of a layer

    def _weights(self, layer: int, key: int | None, choice: Choice) -> list[Weights]:
        """The weights of each direction of a layer, hidden-to-hidden weights dropped where there is a key.

        Where the choice composes, and where entries are dropped, there is a whole matrix in the place of factors.
        """
        found = []
        for direction, suffix in enumerate(("", "_reverse")[: self._directions]):
            end = f"l{layer}{suffix}"
            hidden, input = transition_of(self, f"weight_hh_{end}"), transition_of(self, f"weight_ih_{end}")
            if key is not None and self.weight_dropout > 0.0:
                mask_of = layer * self._directions + direction
                hidden = Dense(drop_weights(hidden.compose(), self.weight_dropout, key, mask_of))
            elif choice.composed:
                hidden = Dense(hidden.compose())
            if choice.composed_inputs and choice.composed_inputs[layer]:
                input = Dense(input.compose())
            others: list[Any] = [getattr(self, f"{kind}_{end}", None) for kind in ("bias_ih", "bias_hh", "weight_hr")]
            found.append(Weights(input, hidden, *others))
        return found

    def _gains(self, layer: int) -> Gains | None:
        if self.norm is None:
            return None
        gains: list[Any] = [getattr(self, f"norm_{of}_l{layer}", None) for of in ("ih", "hh", "c", "c_bias")]
        if self.norm == "batch":
            norms: list[Any] = [getattr(self, f"statistics_{of}_l{layer}") for of in ("ih", "hh", "c")]
            gains.append(Statistics(*norms))
        return Gains(*gains)
