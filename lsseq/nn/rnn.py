"""The simple recurrent layer: `torch.nn.RNN`, and what it does not offer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from lsseq.nn.checks import MaskOver
from lsseq.nn.recurrent import Backend, Recurrent
from lsseq.nn.weights import first_device


class RNN(Recurrent, nn.RNN):
    """Simple recurrent network, as `torch.nn.RNN`, with zoneout, weight dropout, low rank and layer normalisation.

    The arguments up to `dtype` are those of `torch.nn.RNN`, in its order and with its meaning. With none of the
    others, the parameters, the outputs and the speed are its too, and state dicts load both ways. The step with all
    options:

        h̃ = φ(N(W_ih x_t) + b_ih + N(W_hh h) + b_hh)
        h = d ⊙ h + (1 - d) ⊙ h̃                     the output of the step

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, bidirectional, device, dtype: see `torch.nn.RNN`.
        nonlinearity: φ, `tanh` or `relu`.
        zoneout_hidden: probability that a unit keeps its *old* value at a step (Krueger et al. 2017): masks d in
            training, the rate in evaluation.
        norm: `layer` normalises each of the two products over its H units (Ba et al. 2016, applied as in their LSTM).
            It adds the gains `norm_ih_l{k}` and `norm_hh_l{k}` (H); b_ih and b_hh are the norms' biases.
        rank, diagonal, tied_rank: W_hh is L R, or L R + diag(D), as for `lsseq.nn.LSTM`; one gate shares with none.
        input_rank: W_ih is L R, as for `lsseq.nn.LSTM`.
        dropout, dropout_mask, weight_dropout, recompute, backend: as for `lsseq.nn.LSTM`.

    Input, state and results are those of `torch.nn.RNN`: `output, h = rnn(x, h0)`, output (T, B, H) and state
    (layers, B, H). Bidirectional layers and PackedSequence are served by PyTorch's own kernels only, therefore not
    together with zoneout or a norm.

    Raises:
        ValueError: a rate outside [0, 1], a rank that the matrices cannot have, an unknown name, or options that no
            back end, or not the one asked for, can serve.
    """

    recurrence = "RNN"
    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        zoneout_hidden: float = 0.0,
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
            nonlinearity,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=first_device(device, rank, input_rank),
            dtype=dtype,
        )
        self._set_options(
            device,
            zoneout_hidden=zoneout_hidden,
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
        return str(self.nonlinearity)
