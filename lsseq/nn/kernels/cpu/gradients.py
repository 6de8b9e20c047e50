"""What is left of a backward pass where the library has gone through the steps: sums over all of them.

Shape letters: T time, B batch, H hidden, G gates, r rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lsseq.nn.kernels.layer import Layer
from lsseq.nn.parts.transition import LowRank

Arrays = dict[str, Tensor]
"""Tensors by the field of `native.Call` that points to them; absent ones are not there."""


def finish_norm(found: Arrays, gates: Tensor, *, reset_after: bool) -> None:
    """With layer norm: sums up the gradients of the gains, which the library gives by blocks of rows, and of biases."""
    for name in ("d_gain", "d_cell_gain", "d_cell_bias"):
        if name in found:
            found[name] = found[name].sum(0)
    found["d_bias_x"] = found["d_bias_h"] = found["d_inputs"].sum((0, 1))
    if reset_after:
        # The candidate's second bias is multiplied by the reset gate.
        H = gates.shape[-1] // 3
        inner = (found["d_inputs"][..., 2 * H :] * gates[..., :H]).sum((0, 1))
        found["d_bias_h"] = torch.cat([found["d_bias_x"][: 2 * H], inner])


def weight_gradients(layer: Layer, arrays: Arrays, found: Arrays) -> Arrays:
    """The gradient of the weight (G·H, H); or of low rank, those of L (G·H, r) and R (G·r, H) or (r, H)."""
    hidden = layer.weights.hidden
    products = _products(arrays, found["d_products"], reset_before=layer.variant == "before")
    if not isinstance(hidden, LowRank):
        return {"d_weight": torch.cat([_outer(d, *states) for d, states, _ in products])}
    lefts, rights = [], []
    for d, states, name in products:
        narrow = arrays[name]
        sources = narrow.shape[-1] // hidden.rank
        pairs = zip(d.chunk(sources, dim=-1), narrow.chunk(sources, dim=-1), strict=True)
        lefts += [d_own.flatten(0, 1).t() @ own.flatten(0, 1) for d_own, own in pairs]
        rights.append(_outer(found[f"d_{name}"], *states))
    return {"d_weight": torch.cat(lefts), "d_right": torch.stack(rights).sum(0) if hidden.tied else torch.cat(rights)}


def _products(arrays: Arrays, d: Tensor, *, reset_before: bool) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor], str]]:
    """For each product of a step with a state: its gradient (T, B, gates·H), the states of the first step (B, H) and of
    the others (T - 1, B, H), and the name of R times the states."""
    h0, earlier = arrays["h0"], arrays["output"][:-1]
    if not reset_before:
        yield d, (h0, earlier), "narrow"
        return
    H = h0.shape[1]
    reset = arrays["inputs"][..., :H]
    yield d[..., : 2 * H], (h0, earlier), "narrow"
    yield d[..., 2 * H :], (reset[0] * h0, reset[1:] * earlier), "narrow_reset"


def _outer(d: Tensor, first: Tensor, rest: Tensor) -> Tensor:
    """Σ over steps and rows of d (T, B, K) ⊗ what it was multiplied with: first (B, H), then rest (T - 1, B, H)."""
    product = d[0].t() @ first
    return product.addmm_(d[1:].flatten(0, 1).t(), rest.flatten(0, 1)) if len(rest) else product
