"""What is left of a backward pass where the library has gone through some steps: sums over them.

Shape letters: T time, B batch, H hidden, G gates, r rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lsseq.nn.kernels.cpu.gemm import add_product
from lsseq.nn.kernels.layer import Layer
from lsseq.nn.parts.transition import LowRank

Arrays = dict[str, Tensor]
"""Tensors by the field of `native.Call` that points to them; absent ones are not there."""


def bias_gradients(part: Arrays, *, reset_after: bool) -> Arrays:
    """Those of the biases with layer norm, where the library does not give them."""
    d_inputs, gates = part["d_inputs"], part["inputs"]
    d_bias_x = d_bias_h = d_inputs.sum((0, 1))
    if reset_after:
        # The candidate's second bias is multiplied by the reset gate.
        H = gates.shape[-1] // 3
        inner = (d_inputs[..., 2 * H :] * gates[..., :H]).sum((0, 1))
        d_bias_h = torch.cat([d_bias_x[: 2 * H], inner])
    return {"d_bias_x": d_bias_x, "d_bias_h": d_bias_h}


def add_weight_gradients(to: Arrays, layer: Layer, part: Arrays) -> None:
    """Adds to the gradient of the weight (G·H, H); or of low rank, to those of L (G·H, r) and R (G·r, H) or (r, H)."""
    hidden = layer.weights.hidden
    row = narrow_row = 0
    for d, states, name in _products(part, reset_before=layer.variant == "before"):
        d_weight = to["d_weight"][row : row + d.shape[-1]]
        row += d.shape[-1]
        if not isinstance(hidden, LowRank):
            add_outer(d_weight, d, *states)
            continue
        narrow, d_narrow = part[name], part[f"d_{name}"]
        d_right = to["d_right"] if hidden.tied else to["d_right"][narrow_row : narrow_row + narrow.shape[-1]]
        narrow_row += narrow.shape[-1]
        add_factor_gradients(d_weight, d_right, d, narrow, d_narrow, *states)


def add_factor_gradients(
    d_left: Tensor, d_right: Tensor, d: Tensor, narrow: Tensor, d_narrow: Tensor, *states: Tensor
) -> None:
    """Adds to the gradients of L and R: from that of the products d (T, B, G·H), R times the states and its gradient,
    (T, B, S·r) each, and the states, as for `add_outer`."""
    add_left_gradient(d_left, d.flatten(0, 1), narrow.flatten(0, 1))
    add_outer(d_right, d_narrow, *states)


def add_left_gradient(to: Tensor, d: Tensor, narrow: Tensor) -> None:
    """Adds to the gradient of L (G·H, r): from that of the products (N, G·H) and R times what it multiplies.

    The latter is (N, G·r), or (N, r) where the gates share R.
    """
    sources = narrow.shape[1] // to.shape[1]
    for own, d_own, source in zip(to.chunk(sources), d.chunk(sources, 1), narrow.chunk(sources, 1), strict=True):
        add_product(own, d_own.t(), source)


def _products(part: Arrays, *, reset_before: bool) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor], str]]:
    """For each product of a step with a state: its gradient (T, B, gates·H), the states of the first step (1, B, H) and
    of the others (T - 1, B, H), and the name of R times the states."""
    d, h0, earlier = part["d_products"], part["h0"].unsqueeze(0), part["output"][:-1]
    if not reset_before:
        yield d, (h0, earlier), "narrow"
        return
    # The candidate's products are of the state that was reset.
    H = h0.shape[-1]
    reset = part["inputs"][..., :H]
    yield d[..., : 2 * H], (h0, earlier), "narrow"
    yield d[..., 2 * H :], (reset[:1] * h0, reset[1:] * earlier), "narrow_reset"


def add_outer(to: Tensor, d: Tensor, *states: Tensor) -> None:
    """Adds, over steps and rows, d (T, B, K) ⊗ what it was multiplied with: states (·, B, H) of all steps together."""
    for own, part in zip(torch.split(d, [len(part) for part in states]), states, strict=True):
        if len(part):
            add_product(to, own.flatten(0, 1).t(), part.flatten(0, 1))
