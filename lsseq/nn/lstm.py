"""The LSTM layer: `torch.nn.LSTM`, and what it does not offer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from lsseq.nn.checks import MaskOver
from lsseq.nn.recurrent import Backend, Recurrent
from lsseq.nn.weights import first_device


class LSTM(Recurrent, nn.LSTM):
    """Long short-term memory, as `torch.nn.LSTM`, with zoneout, recurrent and weight dropout, low rank and norms.

    The arguments up to `dtype` are those of `torch.nn.LSTM`, in its order and with its meaning. With none of the
    others, the parameters, the outputs and the speed are its too, and state dicts load both ways. The step with all
    options:

        i, f, g, o = N(W_ih x_t) + b_ih + N(W_hh h) + b_hh
        c̃ = σ(f) ⊙ c + σ(i) ⊙ D(tanh(g))
        h̃ = σ(o) ⊙ tanh(N(c̃))
        c = d_c ⊙ c + (1 - d_c) ⊙ c̃
        h = d_h ⊙ h + (1 - d_h) ⊙ h̃                the output of the step

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, bidirectional, proj_size, device, dtype: see
            `torch.nn.LSTM`.
        dropout: probability of dropping a unit between two layers. The masks come from `lsseq.nn.random`, never from
            cuDNN.
        dropout_mask: `step`, a new mask of `dropout` each step, or `sequence`, one for all steps of a call (variational
            dropout, Gal and Ghahramani 2016; locked dropout, Merity et al. 2018).
        zoneout_cell, zoneout_hidden: probability that a unit of c, of h, keeps its *old* value at a step (zoneout,
            Krueger et al. 2017, section 3.2). Training draws masks d_c, d_h for every step, example and unit;
            evaluation replaces them by the rates. The tanh sees the cell before zoneout.
        recurrent_dropout: probability of dropping a unit of the candidate, D above, with a new mask each step and
            kept values divided by 1 - rate (recurrent dropout without memory loss, Semeniuta et al. 2016).
        weight_dropout: probability of dropping an entry of the whole hidden-to-hidden matrix, one mask a call, kept
            entries divided by 1 - rate (DropConnect; weight drop, Merity et al. 2018, section 2).
        rank: each gate's matrix of W_hh is L R, of this rank (Miceli Barone 2016): `weight_hh_l{k}` is replaced by
            `weight_hh_l{k}_left` (4H, r) and `weight_hh_l{k}_right` (4r, H). `reference` multiplies by the factors one
            after the other, and so does `fused` on a CPU where that is cheaper; else, for `cudnn` and on CUDA, the
            matrix is composed once a call. With `proj_size` the factors are of W_hh (4H, P), and the projection stays
            whole: it is itself a factor, of rank P, that the gates share.
        input_rank: the same of W_ih in every layer: `weight_ih_l{k}_left` (4H, r) and `weight_ih_l{k}_right` (4r, I), I
            the size of what the layer reads, for which r must not be too large.
        diagonal: adds diag(D) to each L R: `weight_hh_l{k}_diag` (4H).
        tied_rank: the gates share R: `weight_hh_l{k}_right` is (r, H) (the projection of Sak et al. 2014), and with an
            `input_rank` `weight_ih_l{k}_right` is (r, I).
        norm: `layer` normalises both products over all 4H gates, and the cell inside the output's tanh only, not the
            cell that is carried (Ba et al. 2016). It adds parameters: gains `norm_ih_l{k}` and `norm_hh_l{k}` (4H),
            `norm_c_l{k}` (H), and `norm_c_bias_l{k}` (H) unless `bias` is False; b_ih and b_hh are the biases of the
            first two norms. `batch` normalises each unit of the same three over the rows of the batch, each step by
            statistics of its own (Cooijmans et al. 2017). It has the parameters of `layer`, with gains that start at
            0.1. Training normalises by the batch, which has two rows at least, and keeps running
            averages; evaluation takes these, so that a row does not depend on the others. `recalibrating` takes them
            anew, as the paper does before it evaluates.
        norm_steps: with `norm="batch"`, the steps that have statistics of their own: the length of the longest sequence
            in training. Later steps have those of the last.
        recompute: the forward pass keeps nothing of a layer but its input, and the backward pass computes it once more:
            less memory for about a third more time.
        backend: `cudnn` for PyTorch's own kernels, `fused` for those of this project, `reference` for a loop over the
            steps, which defines what the others compute, `auto` for the fastest that can serve the call.
            `explain()` says which and why.

    Input, state and results are those of `torch.nn.LSTM`: x (T, B, I), or (B, T, I) with `batch_first`, (T, I)
    without batch, or a PackedSequence; `output, (h, c) = lstm(x, (h0, c0))` with output (T, B, H) and states (layers,
    B, H). Bidirectional layers, `proj_size` and PackedSequence are served by PyTorch's own kernels only, therefore
    not together with zoneout, recurrent dropout or a norm.

    With `norm="batch"` the state has a third part, (layers, B, 1): how many steps each row has read, because a step has
    the statistics of its number. So longer sequences than in training can be read, and windows of a long text: but for
    the first steps, their statistics are those of all steps. An initial (h0, c0) is that of step 0.

    Raises:
        ValueError: a rate outside [0, 1], a rank that the matrices cannot have, an unknown name, or options that no
            back end, or not the one asked for, can serve.
    """

    recurrence = "LSTM"
    gates = 4
    norms = (None, "layer", "batch")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        zoneout_cell: float = 0.0,
        zoneout_hidden: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dropout_mask: MaskOver = "step",
        rank: int | None = None,
        input_rank: int | None = None,
        diagonal: bool = False,
        tied_rank: bool = False,
        norm: Literal["layer", "batch"] | None = None,
        norm_steps: int | None = None,
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
            proj_size,
            device=first_device(device, rank, input_rank),
            dtype=dtype,
        )
        self._set_options(
            device,
            zoneout_cell=zoneout_cell,
            zoneout_hidden=zoneout_hidden,
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
            dropout_mask=dropout_mask,
            rank=rank,
            input_rank=input_rank,
            diagonal=diagonal,
            tied_rank=tied_rank,
            norm=norm,
            norm_steps=norm_steps,
            recompute=recompute,
            backend=backend,
        )
