"""Optimisers are torch's with the recipe's settings, and their state survives being saved."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from toys import toy_training

from lsseq.training.optimizer import build_optimizer, optimizer_state, restore_optimizer, set_learning_rate

KINDS: list[tuple[dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = [
    ({"optimizer": "sgd", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    ({"optimizer": "sgd"}, torch.optim.SGD, {}),
    ({"optimizer": "adam", "betas": [0.5, 0.9], "epsilon": 1e-6}, torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-6}),
    ({"optimizer": "adam", "amsgrad": True}, torch.optim.Adam, {"amsgrad": True}),
    ({"optimizer": "adamw"}, torch.optim.AdamW, {}),
    ({"optimizer": "rmsprop", "smoothing": 0.5}, torch.optim.RMSprop, {"alpha": 0.5}),
    ({"optimizer": "rmsprop", "momentum": 0.9}, torch.optim.RMSprop, {"alpha": 0.99, "momentum": 0.9}),
]


def steps(optimizer: torch.optim.Optimizer, weight: nn.Parameter, seeds: range) -> None:
    for seed in seeds:
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        optimizer.step()


@pytest.mark.parametrize(("keys", "kind", "theirs"), KINDS)
def test_settings_are_passed_on(
    keys: dict[str, Any], kind: type[torch.optim.Optimizer], theirs: dict[str, Any]
) -> None:
    training = toy_training(weight_decay=0.01, **keys)
    ours, other = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5))
    steps(build_optimizer([ours], training), ours, range(5))
    steps(kind([other], lr=training.lr, weight_decay=0.01, **theirs), other, range(5))
    assert torch.equal(ours, other)


@pytest.mark.parametrize(("keys", "kind", "theirs"), KINDS)
def test_state_comes_back(keys: dict[str, Any], kind: type[torch.optim.Optimizer], theirs: dict[str, Any]) -> None:
    training = toy_training(**keys)
    whole = nn.Parameter(torch.ones(5))
    optimizer = build_optimizer([whole], training)
    steps(optimizer, whole, range(3))
    tensors = {name: tensor.clone() for name, tensor in optimizer_state(optimizer).items()}
    resumed = nn.Parameter(whole.detach().clone())
    again = build_optimizer([resumed], training)
    restore_optimizer(again, tensors)
    steps(optimizer, whole, range(3, 6))
    steps(again, resumed, range(3, 6))
    assert torch.equal(whole, resumed)


def test_learning_rate() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([weight], toy_training(optimizer="sgd"))
    set_learning_rate(optimizer, 0.5)
    weight.grad = torch.ones(1)
    optimizer.step()
    assert weight.item() == -0.5
