"""The recurrent highway network.

Shape letters: T time, B batch, I input, H units, K micro-layers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lsseq.nn.cells.rhn import Highways, MicroLayer
from lsseq.nn.checks import check_member, check_rate
from lsseq.nn.cost import weight_flops
from lsseq.nn.kernels.dispatch import rhn_kernel
from lsseq.nn.kernels.factors import Factors
from lsseq.nn.kernels.uncompiled import uncompiled
from lsseq.nn.parts.repetitions import RandomSteps
from lsseq.nn.parts.transition import Dense, LowRank, Transition, factor_shapes
from lsseq.nn.random import Draws, draw_key
from lsseq.nn.single import Backend, SingleLayer


class RHN(SingleLayer):
    """Recurrent highway network (Zilly et al. 2017): K highway layers within a step, with gates that are coupled.

    `lsseq.nn.cells.rhn` has the step. With tied weights it is a residual network of shared layers, run on every symbol
    ("Bridging the gaps", Liao and Poggio 2016), and may be run longer than it was trained.

    Args:
        input_size: I.
        hidden_size: H.
        depth: K. With `tied`, `steps` starts with it.
        tied: all micro-layers have the same weights and biases.
        random_steps: with `tied`, how many micro-layers training runs, one draw a call; `depth` are run in evaluation.
        transform_bias: where the gates' biases start: below 0, so that the state is carried.
        zoneout_hidden: probability that a unit of h keeps its *old* value over a step, all micro-layers taken together
            (Krueger et al. 2017); masks in training, the rate in evaluation.
        recurrent_dropout: probability of dropping a unit of each candidate, with a new mask each step and micro-layer
            (Semeniuta et al. 2016).
        state_dropout: probability of dropping a unit of what the matrices R read, with one mask for all steps and
            micro-layers (variational dropout; the paper's on the state).
        rank, diagonal, tied_rank: each R is L R' (+ diag D), as in `lsseq.nn.LSTM`.
        norm: `layer` normalises each product over all 2H.
        backend: `fused` for this project's kernels, `reference` for a loop over the steps, which defines the result, or
            `auto` for the first where they serve. `explain()` says which and why.
        device, dtype: of the parameters.

    Parameters: `weight_ih` (2H, I); for each micro-layer k `weight_hh_d{k}` (2H, H), or its factors, and `bias_d{k}`
    (2H); with a norm the gains `norm_ih` and `norm_hh_d{k}` (2H). The candidate's rows come before the gate's.

    Raises:
        ValueError: sizes that do not fit, a rate outside [0, 1], an unknown name, random steps without `tied`, or a
            back end that cannot serve.
    """

    recurrence = "RHN"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        depth: int = 1,
        *,
        tied: bool = False,
        random_steps: RandomSteps | None = None,
        transform_bias: float = -2.0,
        zoneout_hidden: float = 0.0,
        recurrent_dropout: float = 0.0,
        state_dropout: float = 0.0,
        rank: int | None = None,
        diagonal: bool = False,
        tied_rank: bool = False,
        norm: Literal["layer"] | None = None,
        backend: Backend = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, depth) < 1:
            raise ValueError(f"expected positive sizes, got RHN({input_size}, {hidden_size}, depth={depth})")
        if random_steps is not None and not tied:
            raise ValueError("random_steps needs tied=True: micro-layers of their own cannot be repeated")
        rates = {"zoneout_hidden": zoneout_hidden, "recurrent_dropout": recurrent_dropout}
        for name, rate in {**rates, "state_dropout": state_dropout}.items():
            check_rate(name, rate)
        check_member("norm", norm, (None, "layer"))
        if rank is None and (diagonal or tied_rank):
            raise ValueError(f"{'diagonal' if diagonal else 'tied_rank'}=True needs a rank")
        self.input_size, self.hidden_size, self.depth = input_size, hidden_size, depth
        self.tied, self.random_steps, self.transform_bias = tied, random_steps, transform_bias
        self.zoneout_hidden, self.recurrent_dropout, self.state_dropout = (
            zoneout_hidden,
            recurrent_dropout,
            state_dropout,
        )
        self.rank, self.diagonal, self.tied_rank, self.norm = rank, diagonal, tied_rank, norm
        self._steps = depth
        self._register(self._shapes(), device, dtype)
        self.reset_parameters()
        self._take_backend(backend)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        H = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (2 * H, self.input_size)}
        if self.norm is not None:
            shapes["norm_ih"] = (2 * H,)
        for k in range(1 if self.tied else self.depth):
            if self.rank is None:
                shapes[f"weight_hh_d{k}"] = (2 * H, H)
            else:
                factors = factor_shapes(2, H, H, self.rank, diagonal=self.diagonal, tied=self.tied_rank)
                shapes |= {f"weight_hh_d{k}_{part}": shape for part, shape in factors.items()}
            shapes |= {f"bias_d{k}": (2 * H,), **({} if self.norm is None else {f"norm_hh_d{k}": (2 * H,)})}
        return shapes

    def reset_parameters(self) -> None:
        """Weights uniform in ±1/√H (an entry of L R' has that variance), gains 1, biases as `reset_biases` says."""
        half_width = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():
            if name.startswith("weight"):
                nn.init.uniform_(parameter, -half_width, half_width)
            elif name.startswith("norm"):
                nn.init.ones_(parameter)
        for k in range(1 if self.tied else self.depth):
            hidden = self._hidden(k)
            if isinstance(hidden, LowRank):
                hidden.initialise(half_width)
        self.reset_biases()

    def reset_biases(self) -> None:
        """0 for the candidates, `transform_bias` for the gates."""
        for name, parameter in self.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
                nn.init.constant_(parameter[self.hidden_size :], self.transform_bias)

    # ------------------------------------------------------------------------------------------------------- running

    @property
    def steps(self) -> int:
        """How many micro-layers are run in evaluation, and in training unless there are `random_steps`."""
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        if steps < 1 or (steps > self.depth and not self.tied):
            most = "" if self.tied else f", and not above the {self.depth} that there are"
            raise ValueError(f"steps of an RHN should be at least 1{most}, got {steps}")
        self._steps = steps

    @uncompiled
    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reads x (T, B, I) on from a state h (1, B, H), zeros where absent: outputs (T, B, H), and the state after it.

        Raises:
            ValueError: shapes that do not fit.
        """
        self._check(input, *(() if hx is None else (hx,)))
        state = self.zero_state(input) if hx is None else hx
        steps = self.random_steps.take() if self.training and self.random_steps is not None else self.steps
        masks = self.training and max(self.zoneout_hidden, self.recurrent_dropout, self.state_dropout) > 0.0
        choice = self.choose_backend(self.training, input)
        network = Highways(
            Dense(self._of("weight_ih")),
            getattr(self, "norm_ih", None),
            [self._micro_layer(k, choice.composed) for k in range(1 if self.tied else steps)],
            steps,
            Draws.here(draw_key()) if masks else None,
            zoneout_hidden=self.zoneout_hidden,
            recurrent_dropout=self.recurrent_dropout,
            state_dropout=self.state_dropout,
        )
        output, h = rhn_kernel(choice.backend, input.device.type)(input, state[0], network)
        return output, torch.stack([h])  # a copy, because a view refuses `detach_()`

    def zero_state(self, input: Tensor) -> Tensor:
        """The initial state for an input: zeros."""
        return input.new_zeros(1, input.shape[1], self.hidden_size)

    def flops(self) -> int:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""
        layers = (weight_flops(self, f"weight_hh_d{0 if self.tied else k}") for k in range(self.steps))
        return weight_flops(self, "weight_ih") + sum(layers)

    def _factors(self, states: int | None) -> Factors | None:
        if self.rank is None:
            return None
        factors = Factors(2, self.hidden_size, self.rank, self.tied_rank)
        # A matrix that is composed once serves all micro-layers that share it.
        return factors if states is None else replace(factors, states=states * (self.steps if self.tied else 1))

    def _micro_layer(self, k: int, composed: bool) -> MicroLayer:
        hidden = self._hidden(k)
        hidden = Dense(hidden.compose()) if composed else hidden
        return MicroLayer(hidden, self._of(f"bias_d{k}"), getattr(self, f"norm_hh_d{k}", None))

    def _hidden(self, k: int) -> Transition:
        name = f"weight_hh_d{k}"
        if self.rank is None:
            return Dense(self._of(name))
        diagonal: Any = getattr(self, f"{name}_diag", None)
        return LowRank(self._of(f"{name}_left"), self._of(f"{name}_right"), diagonal)

    def extra_repr(self) -> str:
        options: dict[str, object] = {"tied": False, "random_steps": None, "rank": None, "norm": None}
        options |= {"zoneout_hidden": 0.0, "recurrent_dropout": 0.0, "state_dropout": 0.0}
        options |= {"diagonal": False, "tied_rank": False, "backend": "auto"}
        shown = [f"{name}={getattr(self, name)}" for name, default in options.items() if getattr(self, name) != default]
        return ", ".join([f"{self.input_size}, {self.hidden_size}, depth={self.depth}", *shown])
