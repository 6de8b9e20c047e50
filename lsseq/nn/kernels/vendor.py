"""The vendor back end: PyTorch's own kernels (cuDNN on CUDA, oneDNN or ATen on CPU), given any tensors as weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lsseq.nn.kernels.layer import States, Weights

_FUNCTIONS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


def run_layer(
    mode: str,
    x: Tensor,
    states: States,
    weights: Sequence[Weights],
    *,
    bias: bool,
    bidirectional: bool,
    batch_sizes: Tensor | None = None,
) -> tuple[Tensor, States]:
    """One layer of `torch.nn.LSTM`, `GRU` or `RNN` in training, without its dropout.

    x is (T, B, I), or packed data (N, I) with `batch_sizes`; each state is (directions, B, H); `weights` are those of
    each direction.
    """
    flat = [
        part
        for one in weights
        for part in (one.input.compose(), one.hidden.compose(), one.input_bias, one.hidden_bias, one.projection)
        if part is not None
    ]
    function = _FUNCTIONS[mode]
    initial = states if mode == "LSTM" else states[0]
    if batch_sizes is None:
        output, *last = function(x, initial, flat, bias, 1, 0.0, True, bidirectional, False)
    else:
        output, *last = function(x, batch_sizes, initial, flat, bias, 1, 0.0, True, bidirectional)
    return output, tuple(last)
