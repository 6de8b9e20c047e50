"""A fast-slow network that is made and called as a single layer is."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.single import Backend
from lsseq.nn.state import State


class LSTMFastSlow(lnn.FastSlow):
    """A fast-slow network of LSTM cells of as many units, the slow one too.

    Args:
        fast: number of fast cells.
        zoneout_cell, zoneout_hidden, recurrent_dropout, weight_dropout, rank, diagonal, tied_rank, norm: of the cells.
        backend: of the network; of the cells too where it is the reference.
        device, dtype: of the parameters.

    Raises:
        ValueError: what `lsseq.nn.FastSlow` and `lsseq.nn.LSTM` raise.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        fast: int = 2,
        *,
        zoneout_cell: float = 0.0,
        zoneout_hidden: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        rank: int | None = None,
        diagonal: bool = False,
        tied_rank: bool = False,
        norm: Literal["layer"] | None = None,
        backend: Backend = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "zoneout_cell": zoneout_cell,
            "zoneout_hidden": zoneout_hidden,
            "recurrent_dropout": recurrent_dropout,
            "weight_dropout": weight_dropout,
            "rank": rank,
            "diagonal": diagonal,
            "tied_rank": tied_rank,
            "norm": norm,
            "backend": "reference" if backend == "reference" else "auto",
            "device": device,
            "dtype": dtype,
        }
        sizes = [input_size, hidden_size, *[1] * (fast - 2)]
        cells = [lnn.LSTM(size, hidden_size, **options) for size in sizes[:fast]]
        super().__init__(cells, lnn.LSTM(hidden_size, hidden_size, **options), backend=backend)

    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Reads x (T, B, I) on from (h, c), (2, B, H) each: that of the fast cells, then that of the slow one."""
        h, c = self.zero_state(x) if hx is None else hx
        output, states = super().forward(x, ((h[:1], c[:1]), (h[1:], c[1:])))
        return output, _joined(states)

    def zero_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(h, c) for an input: zeros."""
        return _joined(super().zero_state(x))


def _joined(states: State) -> tuple[Tensor, Tensor]:
    (h, c), (slow_h, slow_c) = states
    return torch.cat([h, slow_h]), torch.cat([c, slow_c])
