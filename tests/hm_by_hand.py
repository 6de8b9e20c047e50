"""The HM-LSTM one example, one step and one layer after another, with numpy, and small data for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

import lsseq.nn as lnn

F64 = torch.float64
T, B, I = 9, 4, 3
SIZES = [5, 4, 6]


def data(steps: int = T, batch: int = B, seed: int = 1) -> Tensor:
    return torch.randn(steps, batch, I, dtype=F64, generator=torch.Generator().manual_seed(seed))


def initial(batch: int = B, seed: int = 2) -> tuple[tuple[Tensor, ...], ...]:
    g = torch.Generator().manual_seed(seed)
    h, c = (tuple(0.5 * torch.randn(batch, H, dtype=F64, generator=g) for H in SIZES) for _ in range(2))
    z = (*(torch.randint(2, (batch, 1), generator=g).to(F64) for _ in range(2)), torch.zeros(batch, 1, dtype=F64))
    return h, c, z


def patterns(rate: float = 0.5, seed: int = 3, batch: int = B) -> Tensor:
    return (torch.rand(T, batch, 2, generator=torch.Generator().manual_seed(seed)) < rate).to(F64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def normal(x: np.ndarray, gain: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * gain + bias


def by_hand(
    layer: lnn.HMLSTM, x: Tensor, state: Any, forced: Tensor | None = None
) -> tuple[list, np.ndarray, np.ndarray]:
    """One example after another, one step after another, one layer after another, with numpy and `if`."""
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    outputs = [np.zeros((len(x), x.shape[1], H)) for H in SIZES]
    boundaries, sums = np.zeros((2, len(x), x.shape[1], 2))
    for b in range(x.shape[1]):
        h, c, z = ([part[b].numpy().copy() for part in parts] for parts in state)
        for t in range(len(x)):
            old_h = [value.copy() for value in h]
            below, z_below = x[t, b].numpy(), 1.0
            for k, H in enumerate(SIZES):

                def product(name: str, value: np.ndarray, k: int = k, H: int = H) -> np.ndarray:
                    result = p[f"weight_{name}_l{k}"] @ value
                    if layer.norm:
                        result[: 4 * H] = normal(result[: 4 * H], p[f"norm_{name}_l{k}"])
                    return result

                s = product("hh", old_h[k]) + p[f"bias_l{k}"]
                if k < 2 and z[k] == 1 and layer.top_down:
                    s = s + product("th", old_h[k + 1])
                if z_below == 1:
                    s = s + product("ih", below)
                i, f, g, o = (s[n * H : (n + 1) * H] for n in range(4))
                i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
                copies = False
                if z[k] == 1 and layer.flush:
                    c[k] = i * g
                elif z_below == 1:
                    c[k] = f * c[k] + i * g
                else:
                    copies = True
                if not copies or (k == 2 and not layer.copy_top):
                    seen = normal(c[k], p[f"norm_c_l{k}"], p[f"norm_c_bias_l{k}"]) if layer.norm else c[k]
                    h[k] = o * np.tanh(seen)
                outputs[k][t, b] = h[k]
                if k < 2:
                    found = float(s[-1] > 0)
                    if layer.on_copy == "hold" and copies:
                        found = 0.0
                    if layer.nested:
                        found *= z_below
                    z[k] = np.array([found if forced is None else float(forced[t, b, k])])
                    boundaries[t, b, k], sums[t, b, k] = z[k][0], s[-1]
                    below, z_below = h[k], z[k][0]
    return outputs, boundaries, sums
