"""What a model costs: parameters, state, floating point operations."""

from __future__ import annotations

import torch
from torch import nn

from lsseq.data.batches import Tokens
from lsseq.model.base import Extras
from lsseq.model.language_model import LanguageModel
from lsseq.model.recurrent import RecurrentModel
from lsseq.nn.state import flatten_state


def count_parameters(model: nn.Module) -> int:
    """The numbers that are trained; a tied weight counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def cost(model: RecurrentModel) -> dict[str, int]:
    """What a model costs, by the keys of `lsseq eval --json`.

    Args:
        model: in evaluation mode.

    Returns:
        `parameters`; `state_size`, the numbers that are carried from step to step for one stream; and unless the
        recurrence does not tell, `flops_per_token`, the floating point operations of a token in the forward pass,
        counted by `lsseq.nn.cost` as if everything was computed at every step.
    """
    values = {"parameters": count_parameters(model), "state_size": _state_size(model)}
    flops = model.flops()
    return values if flops is None else values | {"flops_per_token": round(flops)}


def cost_on_text(model: LanguageModel, told: Extras, targets: Tokens) -> dict[str, int]:
    """Where a model computes some parts only when the text demands it, `flops_per_token_measured`: what this one did.

    Args:
        model: the model.
        told: the means of what the recurrence told of the text.
        targets: the tokens of the text, 1-D.
    """
    flops = model.flops_demanded(told, targets)
    return {} if flops is None or flops == model.flops() else {"flops_per_token_measured": round(flops)}


@torch.no_grad()
def _state_size(model: RecurrentModel) -> int:
    like = next(model.parameters())
    _, state, _ = model.recurrence(like.new_zeros(1, 1, model.embedding.output_size))
    return sum(tensor.numel() for tensor in flatten_state(state).values())
