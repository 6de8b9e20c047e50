"""An HM-LSTM with boundaries that are forced: how long it takes depends on where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn import HMOutput


class ForcedHMLSTM(lnn.HMLSTM):
    """An HM-LSTM that finds boundaries at given rates, at the same places in every call.

    Whether there is a boundary is drawn for each step, example and layer. The detectors learn through the boundaries as
    if they had found them.

    Args:
        boundary_rates: of each layer but the top one.
        zoneout_cell, zoneout_hidden, norm, gradient, rank, diagonal, tied_rank, backend, device, dtype: as of
            `lsseq.nn.HMLSTM`.

    Raises:
        ValueError: not one rate a layer below the top, and what `lsseq.nn.HMLSTM` raises.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        boundary_rates: Sequence[float],
        norm: Literal["layer"] | None = None,
        zoneout_cell: float = 0.0,
        zoneout_hidden: float = 0.0,
        gradient: Literal["product", "select"] = "product",
        rank: int | None = None,
        diagonal: bool = False,
        tied_rank: bool = False,
        backend: Literal["auto", "fused", "reference"] = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if len(boundary_rates) != num_layers - 1:
            raise ValueError(
                f"{num_layers} layer(s) need {num_layers - 1} boundary rate(s), one for each but the top one; "
                f"got {len(boundary_rates)}"
            )
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            norm=norm,
            zoneout_cell=zoneout_cell,
            zoneout_hidden=zoneout_hidden,
            gradient=gradient,
            rank=rank,
            diagonal=diagonal,
            tied_rank=tied_rank,
            backend=backend,
            device=device,
            dtype=dtype,
        )
        self.boundary_rates = tuple(boundary_rates)

    def forward(self, x: Tensor, state: Sequence[Tensor] | None = None) -> HMOutput:  # type: ignore[override]
        """Reads x (T, B, I) on from h of each layer, then c of each layer, (B, H) each; by default zeros."""
        T, B, L = x.shape[0], x.shape[1], self.num_layers
        drawn = torch.rand(T, B, L - 1, generator=torch.Generator().manual_seed(0))
        boundaries = (drawn < torch.tensor(self.boundary_rates)).to(x)
        if state is None:
            return super().forward(x, None, boundaries)
        none = tuple(x.new_zeros(B, 1) for _ in range(L))
        return super().forward(x, (tuple(state[:L]), tuple(state[L:]), none), boundaries)

    def flops(self, below: Sequence[float] | None = None, changes: Sequence[float] | None = None) -> float:
        """As `HMLSTM.flops`, by default with the shares to be expected of boundaries at these rates."""
        rates, own = [1.0, *self.boundary_rates], [*self.boundary_rates, 0.0]
        changed = [1 - (1 - b) * (1 - o) for b, o in zip(rates, own, strict=True)]
        return super().flops(below or rates, changes or changed)
