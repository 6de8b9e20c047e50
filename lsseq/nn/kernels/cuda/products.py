"""The product of the state with the weight at each step, plain or layer-normalised, and the way back through it.

Shape letters: T time, B batch, H hidden, K rows of the weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lsseq.nn.kernels.cuda.elementwise import EPSILON
from lsseq.nn.parts.products import layer_norm


@dataclass(frozen=True)
class Product:
    """N(h Wᵀ): N is nothing, or layer norm of each group of rows of the weight by itself."""

    weight: Tensor  # (K, H)
    gain: Tensor | None  # (K,)
    groups: list[int]
    raw: Tensor | None
    """h Wᵀ of all steps (T, B, K), or of one where nothing is saved; None without a gain."""

    def add(self, t: int, h: Tensor, start: Tensor, out: Tensor) -> None:
        """out = start + N(h Wᵀ) (B, K) at step t; start may be out itself, or a bias (K,)."""
        if self.gain is None or self.raw is None:
            torch.addmm(start, h, self.weight.t(), out=out)
            return
        raw = torch.mm(h, self.weight.t(), out=self.raw[t % len(self.raw)])
        for group in self.columns():
            torch.add(start[..., group], layer_norm(raw[:, group], self.gain[group]), out=out[:, group])

    def columns(self) -> Iterator[slice]:
        """The groups as slices."""
        begin = 0
        for size in self.groups:
            yield slice(begin, begin + size)
            begin += size


class Backward:
    """The way back. `d_sums` (T, B, K) is the gradient of what N(h Wᵀ) was added to, and is filled step by step."""

    def __init__(self, product: Product, d_sums: Tensor) -> None:
        self._product, self._d_sums, self._d_raw = product, d_sums, d_sums
        if product.raw is not None:
            self._d_raw = torch.empty_like(d_sums)
            self._statistics = [
                torch.native_layer_norm(product.raw[..., group], [size], None, None, EPSILON.value)[1:]
                for group, size in zip(product.columns(), product.groups, strict=True)
            ]

    def step(self, t: int, out: Tensor) -> None:
        """out = the gradient of h (B, H) at step t, whose d_sums are there."""
        if self._product.raw is not None:
            for group, d_raw, _ in self._through_norm(slice(t, t + 1), of_gain=False):
                self._d_raw[t, :, group] = d_raw[0]
        torch.mm(self._d_raw[t], self._product.weight, out=out)

    def parameters(self, states: Tensor) -> dict[str, Tensor]:
        """The gradients of the weight and the gain, given h of all steps (T, B, H)."""
        found = {"weight": self._d_raw.flatten(0, 1).t() @ states.flatten(0, 1)}
        if self._product.gain is not None:
            found["gain"] = torch.cat([d_gain for _, _, d_gain in self._through_norm(slice(None), of_gain=True)])
        return found

    def _through_norm(self, steps: slice, *, of_gain: bool) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """For each group: its columns, and the gradient of what was normalised or of the gain."""
        raw, gain = self._product.raw, self._product.gain
        assert raw is not None
        assert gain is not None
        for group, (mean, scale) in zip(self._product.columns(), self._statistics, strict=True):
            d_raw, d_gain, _ = torch.ops.aten.native_layer_norm_backward(
                self._d_sums[steps][..., group].contiguous(),
                raw[steps][..., group].contiguous(),
                gain[group].shape,
                mean[steps],
                scale[steps],
                gain[group],
                None,
                [not of_gain, of_gain, False],
            )
            yield group, d_raw, d_gain
