"""The GRU layer: `torch.nn.GRU`, and what it does not offer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from lsseq.nn.checks import MaskOver, check_member
from lsseq.nn.cost import weight_flops
from lsseq.nn.recurrent import Backend, Recurrent
from lsseq.nn.weights import first_device


class GRU(Recurrent, nn.GRU):
    """Gated recurrent unit, as `torch.nn.GRU`, with zoneout, recurrent and weight dropout, low rank and layer norm.

    The arguments up to `dtype` are those of `torch.nn.GRU`, in its order and with its meaning. With none of the
    others, the parameters, the outputs and the speed are its too, and state dicts load both ways. The step with all
    options:

        r, z = σ(N(W_i x_t) + b_i + N(W_h h) + b_h)
        n = tanh(N(W_in x_t) + b_in + r ⊙ (N(W_hn h) + b_hn))      reset="after"
        n = tanh(N(W_in x_t) + b_in + N(W_hn (r ⊙ h)) + b_hn)      reset="before"
        h̃ = z ⊙ h + (1 - z) ⊙ D(n)
        h = d ⊙ h + (1 - d) ⊙ h̃                     the output of the step

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, bidirectional, device, dtype: see `torch.nn.GRU`.
        reset: where the reset gate acts: on the product with the state (`after`, as in cuDNN and PyTorch)
            or on the state (`before`, Cho et al. 2014, equation 8).
        zoneout_hidden: probability that a unit keeps its *old* value at a step (Krueger et al. 2017): masks d in
            training, the rate in evaluation.
        recurrent_dropout: probability of dropping a unit of the candidate, D above (Semeniuta et al. 2016).
        norm: `layer` normalises both products, the 2H rows of r and z and the H rows of n each by themselves (the
            code of Ba et al. 2016). It adds the gains `norm_ih_l{k}` and `norm_hh_l{k}` (3H); b_ih and b_hh are the
            norms' biases.
        rank, diagonal, tied_rank: W_h of each gate is L R, or L R + diag(D), as for `lsseq.nn.LSTM`.
        input_rank: W_i of each gate is L R, as for `lsseq.nn.LSTM`.
        dropout, dropout_mask, weight_dropout, recompute, backend: as for `lsseq.nn.LSTM`.

    Input, state and results are those of `torch.nn.GRU`: `output, h = gru(x, h0)`, output (T, B, H) and state
    (layers, B, H). Bidirectional layers and PackedSequence are served by PyTorch's own kernels only, therefore not
    together with zoneout, recurrent dropout, a norm or `reset="before"`.

    Raises:
        ValueError: a rate outside [0, 1], a rank that the matrices cannot have, an unknown name, or options that no
            back end, or not the one asked for, can serve.
    """

    recurrence = "GRU"
    gates = 3
    reset: Literal["after", "before"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        reset: Literal["after", "before"] = "after",
        zoneout_hidden: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dropout_mask: MaskOver = "step",
        rank: int | None = None,
        input_rank: int | None = None,
        diagonal: bool = False,
        tied_rank: bool = False,
        norm: Literal["layer"] | None = None,
        recompute: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=first_device(device, rank, input_rank),
            dtype=dtype,
        )
        check_member("reset", reset, ("after", "before"))
        self._set_options(
            device,
            reset=reset,
            zoneout_hidden=zoneout_hidden,
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
            dropout_mask=dropout_mask,
            rank=rank,
            input_rank=input_rank,
            diagonal=diagonal,
            tied_rank=tied_rank,
            norm=norm,
            recompute=recompute,
            backend=backend,
        )

    @property
    def variant(self) -> str:
        return self.reset

    def flops(self) -> int:
        """As `Recurrent.flops`; a shared R that sees the state and the state that was reset is multiplied twice."""
        twice = self.rank is not None and self.tied_rank and self.reset == "before"
        again = sum(weight_flops(self, f"weight_hh_l{k}_right") for k in range(self.num_layers)) if twice else 0
        return super().flops() + again
