"""An LSTM with recurrent batch normalisation.

Shape letters: T time, B batch, I input, H units, N steps with statistics of their own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lsseq.nn.cells.bnlstm import BatchNormCell
from lsseq.nn.checks import check_rate
from lsseq.nn.cost import weight_flops
from lsseq.nn.kernels.layer import Gains, Layer, Weights
from lsseq.nn.parts.statistics import StepNorm
from lsseq.nn.parts.transition import Dense
from lsseq.nn.random import Draws, draw_key
from lsseq.nn.single import SingleLayer

BatchNormState = tuple[Tensor, Tensor, Tensor]
"""h and c, (1, B, H) each, and how many steps each row has read, (1, B, 1)."""


class BatchNormLSTM(SingleLayer):
    """An LSTM whose products and cell are normalised over the batch, each step by its own statistics (Cooijmans et al.
    2017).

    `lsseq.nn.cells.bnlstm` has the step. Training normalises by the batch and keeps running averages; evaluation takes
    these, so that a row does not depend on the others. `lsseq.nn.recalibrating` takes them anew, as the paper does
    before it evaluates.

    A state counts the steps since it was initial, because a step has the statistics of its number. Steps from N on have
    those of the last, so that longer sequences than in training can be read, and windows of a long text: but for the
    first N steps, their statistics are those of all steps.

    Args:
        input_size: I.
        hidden_size: H.
        steps: N, the length of the longest sequence in training.
        gain: where the gains γ start; near 1 gradients vanish.
        momentum: weight of a new batch in the running averages.
        zoneout_cell, zoneout_hidden: probability that a unit of c, of h, keeps its *old* value at a step
            (Krueger et al. 2017); masks in training, the rate in evaluation.
        device, dtype: of the parameters.

    Parameters: `weight_ih_l0` (4H, I), `weight_hh_l0` (4H, H), `bias_ih_l0` (4H), and `norm_ih_l0`, `norm_hh_l0` (4H),
    `norm_c_l0`, `norm_c_bias_l0` (H); the row blocks are i, f, g, o.

    Raises:
        ValueError: sizes that are not positive, or a rate outside [0, 1].
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        steps: int,
        *,
        gain: float = 0.1,
        momentum: float = 0.05,
        zoneout_cell: float = 0.0,
        zoneout_hidden: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, steps) < 1:
            raise ValueError(f"expected positive sizes, got BatchNormLSTM({input_size}, {hidden_size}, steps={steps})")
        rates = {"momentum": momentum, "zoneout_cell": zoneout_cell, "zoneout_hidden": zoneout_hidden}
        for name, rate in rates.items():
            check_rate(name, rate)
        self.input_size, self.hidden_size, self.gain = input_size, hidden_size, gain
        self.zoneout_cell, self.zoneout_hidden = zoneout_cell, zoneout_hidden
        I, H = input_size, hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias_ih": (4 * H,)}
        shapes |= {"norm_ih": (4 * H,), "norm_hh": (4 * H,), "norm_c": (H,), "norm_c_bias": (H,)}
        self._register({f"{name}_l0": shape for name, shape in shapes.items()}, device, dtype)
        sizes = {"statistics_ih": 4 * H, "statistics_hh": 4 * H, "statistics_c": H}
        for name, size in sizes.items():
            self.add_module(name, StepNorm(size, steps, momentum, device, dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights and biases uniform in ±1/√H as `torch.nn` does, gains `gain`, and the cell's norm has bias 0."""
        half_width = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():
            if name.startswith("norm"):
                nn.init.constant_(parameter, 0.0 if "bias" in name else self.gain)
            else:
                nn.init.uniform_(parameter, -half_width, half_width)

    def forward(self, input: Tensor, hx: BatchNormState | None = None) -> tuple[Tensor, BatchNormState]:
        """Reads x (T, B, I) on from a state (h, c, count): outputs (T, B, H), and the state after it.

        Raises:
            ValueError: shapes that do not fit; in training, one row alone, or rows that are at different steps.
        """
        self._check(input, *(hx or ())[:2])
        h, c, count = self.zero_state(input) if hx is None else hx
        if count.shape != (1, input.shape[1], 1):
            raise ValueError(f"BatchNormLSTM: expected counts (1, {input.shape[1]}, 1), got {tuple(count.shape)}")
        random = self.training and max(self.zoneout_cell, self.zoneout_hidden) > 0
        layer = Layer(
            Weights(Dense(self._of("weight_ih_l0")), Dense(self._of("weight_hh_l0")), self._of("bias_ih_l0")),
            Draws.here(draw_key()) if random else None,
            zoneout_cell=self.zoneout_cell,
            zoneout_hidden=self.zoneout_hidden,
        )
        gains = Gains(*(self._of(f"norm_{of}_l0") for of in ("ih", "hh", "c", "c_bias")))
        norms = self.statistics_ih, self.statistics_hh, self.statistics_c
        cell = BatchNormCell(layer, gains, norms, input, count.detach()[0, :, 0].round().long())  # type: ignore[arg-type]
        states: tuple[Tensor, ...] = (h[0], c[0])
        outputs = []
        for t, x_t in enumerate(cell.inputs.unbind(0)):
            states = cell.step(x_t, states, t)
            outputs.append(states[0])
        h, c = (part.unsqueeze(0) for part in states)
        return torch.stack(outputs), (h, c, count + len(input))

    def zero_state(self, input: Tensor) -> BatchNormState:
        """The initial state for an input: zeros."""
        zeros = input.new_zeros(1, input.shape[1], self.hidden_size)
        return zeros, zeros, zeros[..., :1]

    def flops(self) -> int:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""
        return weight_flops(self, "weight")

    def extra_repr(self) -> str:
        zoneout = f"zoneout_cell={self.zoneout_cell}, zoneout_hidden={self.zoneout_hidden}"
        return f"{self.input_size}, {self.hidden_size}, gain={self.gain}, {zoneout}"
