"""The Mogrifier LSTM.

Shape letters: T time, B batch, I input, H units, k rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lsseq.nn.checks import check_rate
from lsseq.nn.cost import weight_flops
from lsseq.nn.kernels.dispatch import mogrifier_kernel
from lsseq.nn.kernels.layer import Layer, Weights
from lsseq.nn.kernels.uncompiled import uncompiled
from lsseq.nn.parts.transition import Dense
from lsseq.nn.random import Draws, draw_key
from lsseq.nn.single import Backend, SingleLayer


class MogrifierLSTM(SingleLayer):
    """An LSTM whose input and state gate each other in turns before each step (Melis, Kočiský and Blunsom 2020).

    `lsseq.nn.cells.mogrifier` has the step. Without rounds it is an LSTM, and so are the names of its other parameters.

    Args:
        input_size: I.
        hidden_size: H.
        rounds: how many gatings there are, x first.
        rank: k, the rank of the gatings' matrices; whole ones where absent.
        zoneout_cell, zoneout_hidden: probability that a unit of c, of h, keeps its *old* value at a step
            (Krueger et al. 2017); masks in training, the rate in evaluation.
        recurrent_dropout: probability of dropping a unit of the candidate, with a new mask each step
            (Semeniuta et al. 2016).
        backend: `fused` for this project's kernels, `reference` for a loop over the steps, which defines the result, or
            `auto` for the first where they serve. `explain()` says which and why.
        device, dtype: of the parameters.

    Parameters: `weight_ih_l0` (4H, I), `weight_hh_l0` (4H, H), `bias_ih_l0` and `bias_hh_l0` (4H) of `torch.nn.LSTM`;
    for each round i from 1 on `gate_{i}`, (I, H) where i is odd, else (H, I), or its factors `gate_{i}_out` (·, k) and
    `gate_{i}_in` (k, ·).

    Raises:
        ValueError: sizes, a number of rounds or a rank that are impossible, a rate outside [0, 1], or a back end that
            cannot serve.
    """

    recurrence = "MogrifierLSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        rounds: int = 5,
        *,
        rank: int | None = None,
        zoneout_cell: float = 0.0,
        zoneout_hidden: float = 0.0,
        recurrent_dropout: float = 0.0,
        backend: Backend = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size) < 1 or rounds < 0:
            sizes = f"{input_size}, {hidden_size}, rounds={rounds}"
            raise ValueError(f"expected positive sizes, got MogrifierLSTM({sizes})")
        most = min(input_size, hidden_size)
        if rank is not None and not 1 <= rank <= most:
            raise ValueError(f"rank should be in range [1, {most}], got {rank}")
        check_rate("zoneout_cell", zoneout_cell)
        check_rate("zoneout_hidden", zoneout_hidden)
        check_rate("recurrent_dropout", recurrent_dropout)
        self.input_size, self.hidden_size, self.rounds, self.rank = input_size, hidden_size, rounds, rank
        self.zoneout_cell, self.zoneout_hidden = zoneout_cell, zoneout_hidden
        self.recurrent_dropout = recurrent_dropout
        self._register(self._shapes(), device, dtype)
        self.reset_parameters()
        self._take_backend(backend)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        I, H = self.input_size, self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih_l0": (4 * H, I), "weight_hh_l0": (4 * H, H)}
        shapes |= {"bias_ih_l0": (4 * H,), "bias_hh_l0": (4 * H,)}
        for i in range(1, self.rounds + 1):
            gated, gating = (I, H) if i % 2 else (H, I)
            if self.rank is None:
                shapes[f"gate_{i}"] = (gated, gating)
            else:
                shapes |= {f"gate_{i}_out": (gated, self.rank), f"gate_{i}_in": (self.rank, gating)}
        return shapes

    def reset_parameters(self) -> None:
        """Those of the LSTM uniform in ±1/√H as `torch.nn` does, matrices of gatings in ±1/√columns."""
        half_width = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():
            limit = 1 / math.sqrt(parameter.shape[1]) if name.startswith("gate") else half_width
            nn.init.uniform_(parameter, -limit, limit)

    @uncompiled
    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Reads x (T, B, I) on from a state (h, c), (1, B, H) each: outputs (T, B, H), and the state after it.

        Raises:
            ValueError: shapes that do not fit, or another number of states.
        """
        state = self.zero_state(input) if hx is None else hx
        if isinstance(state, Tensor) or len(state) != 2:
            raise ValueError(f"MogrifierLSTM: expected a state (h, c), (1, B, {self.hidden_size}) each")
        self._check(input, *state)
        random = self.training and max(self.zoneout_cell, self.zoneout_hidden, self.recurrent_dropout) > 0
        weights = Dense(self._of("weight_ih_l0")), Dense(self._of("weight_hh_l0"))
        layer = Layer(
            Weights(*weights, self._of("bias_ih_l0"), self._of("bias_hh_l0")),
            Draws.here(draw_key()) if random else None,
            zoneout_cell=self.zoneout_cell,
            zoneout_hidden=self.zoneout_hidden,
            recurrent_dropout=self.recurrent_dropout,
        )
        gatings = [self._gating(i) for i in range(1, self.rounds + 1)]
        kernel = mogrifier_kernel(self.choose_backend(self.training, input).backend, input.device.type)
        output, (h, c) = kernel(input, tuple(part[0] for part in state), layer, gatings)
        return output, (torch.stack([h]), torch.stack([c]))  # copies, because a view refuses `detach_()`

    def zero_state(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """The initial state for an input: zeros."""
        zeros = input.new_zeros(1, input.shape[1], self.hidden_size)
        return zeros, zeros

    def flops(self) -> int:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""
        return weight_flops(self, "weight") + weight_flops(self, "gate")

    def _gating(self, i: int) -> list[Tensor]:
        if self.rank is None:
            return [self._of(f"gate_{i}")]
        return [self._of(f"gate_{i}_out"), self._of(f"gate_{i}_in")]

    def extra_repr(self) -> str:
        options: dict[str, object] = {"rank": None, "backend": "auto"}
        options |= dict.fromkeys(("zoneout_cell", "zoneout_hidden", "recurrent_dropout"), 0.0)
        shown = [f"{name}={getattr(self, name)}" for name, default in options.items() if getattr(self, name) != default]
        return ", ".join([f"{self.input_size}, {self.hidden_size}, rounds={self.rounds}", *shown])
