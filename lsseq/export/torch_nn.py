"""The form `torch-nn`: the state dict of modules of `torch.nn`, for an LSTM, GRU or RNN that has no more than these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

import lsseq.nn as lnn
from lsseq.export.step import Runner, Subject, Tensors
from lsseq.model.output import AdaptiveSoftmax, FullSoftmax
from lsseq.model.recurrence import Layers

NAME = "torch-nn"
FILE = "torch_nn.safetensors"


def obstacle(subject: Subject) -> str | None:
    """Why a model cannot have this form, or None."""
    model = subject.model
    layers = model.recurrence.rnn if isinstance(model.recurrence, Layers) else None
    if not isinstance(layers, (lnn.LSTM, lnn.GRU, lnn.RNN)):
        return "it is for LSTM, GRU or RNN layers of one size and without a stack"
    if beyond := layers.beyond_torch():
        return f"torch.nn.{layers.recurrence} has no {', '.join(beyond)}"
    if isinstance(model.output, AdaptiveSoftmax):
        return "it is for an output that is a linear map, and the model has an adaptive softmax"
    return None


def files(subject: Subject) -> dict[str, bytes]:
    """What is written: the weights of `embedding`, unless it is one-hot or reads numbers, of `rnn` and of `output`."""
    model: Any = subject.model
    output = model.output
    tensors = {f"rnn.{name}": tensor for name, tensor in model.recurrence.rnn.state_dict().items()}
    tensors |= {f"embedding.{name}": tensor for name, tensor in model.embedding.state_dict().items()}
    tensors["output.weight"] = output.matrix if isinstance(output, FullSoftmax) else output.weight
    tensors["output.bias"] = output.bias
    return {FILE: save({name: tensor.detach().clone() for name, tensor in tensors.items()})}


def runner(folder: Path, subject: Subject) -> Runner:
    """The model from what was written."""
    tensors = load_file(folder / FILE)
    like: Any = subject.model.recurrence
    like = like.rnn
    sizes: dict[str, Any] = {"num_layers": like.num_layers}
    if like.recurrence == "RNN":
        sizes["nonlinearity"] = like.nonlinearity
    rnn = getattr(nn, like.recurrence)(like.input_size, like.hidden_size, **sizes)
    rnn.load_state_dict({name.removeprefix("rnn."): part for name, part in tensors.items() if name.startswith("rnn.")})

    def run(inputs: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        x = inputs
        if subject.reads_tokens:
            known, present = inputs.clamp(min=0), (inputs >= 0).unsqueeze(-1)
            weight = tensors.get("embedding.weight")
            x = (F.one_hot(known, like.input_size).float() if weight is None else F.embedding(known, weight)) * present
        h, after = rnn(x, tuple(state) if like.recurrence == "LSTM" else state[0])
        after = list(after) if like.recurrence == "LSTM" else [after]
        return F.linear(h, tensors["output.weight"], tensors["output.bias"]), after

    return run
