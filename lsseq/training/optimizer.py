"""The optimisers of a recipe, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lsseq.recipe.schema import Training


def build_optimizer(parameters: Iterable[nn.Parameter], training: Training) -> Optimizer:
    """The optimiser that a recipe's `training` section names, from `torch.optim`."""
    lr, decay, epsilon = training.lr, training.weight_decay, training.epsilon
    match training.optimizer:
        case "sgd":
            return torch.optim.SGD(parameters, lr, momentum=training.momentum, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(parameters, lr, training.betas, epsilon, decay, amsgrad=training.amsgrad)
        case "adamw":
            return torch.optim.AdamW(parameters, lr, training.betas, epsilon, decay, amsgrad=training.amsgrad)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr, training.smoothing, epsilon, decay, training.momentum)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers of each parameter, as tensors named `NUMBER.KEY` (`0.exp_avg`).

    The settings of its groups are not part of it: they come from the recipe and the schedule.
    """
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": torch.as_tensor(value)  # a count of steps is a number in some versions of PyTorch
        for number, remembered in state.items()
        for key, value in remembered.items()
        if isinstance(value, Tensor | int | float)
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser of the same parameters the state that `optimizer_state` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
