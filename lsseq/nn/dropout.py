"""Dropout modules on time-major sequences, with masks from `lsseq.nn.random`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lsseq.nn.checks import MaskOver, check_member, check_rate
from lsseq.nn.parts.coins import of_the_batch, reaching, shape_of
from lsseq.nn.random import Draws, Kind, draw_key, keep_scale


class Dropout(nn.Module):
    """Drops units of a sequence x (T, B, H) in training; kept values are divided by 1 - p.

    Args:
        p: probability of dropping a unit.
        mask: `sequence`, one mask (B, H) for all steps of a call (variational dropout, Gal and Ghahramani 2016; locked
            dropout, Merity et al. 2018), or `step`, a new one each step (Zaremba et al. 2014).

    Raises:
        ValueError: p outside [0, 1], or an unknown mask; in a call, an input that is not (T, B, H).
    """

    def __init__(self, p: float, mask: MaskOver = "sequence") -> None:
        super().__init__()
        check_rate("p", p)
        check_member("mask", mask, ("step", "sequence"))
        self.p, self.mask = p, mask

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3:
            raise ValueError(f"Dropout: expected an input (T, B, H), got {x.dim()} dimensions")
        factors = self.factors(x)
        return x if factors is None else x * factors

    def factors(self, x: Tensor) -> Tensor | None:
        """What a call with x (T, B, H) multiplies it by, (T, B, H) or (1, B, H); None where it leaves it as it is."""
        if not self.training or self.p == 0.0:
            return None
        shape = shape_of(x, self.mask, x.shape[-1])
        draws = reaching(Draws.here(draw_key()), self.mask)
        return keep_scale(draws.mask(Kind.DROPOUT, self.p, shape, x.device), self.p, x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}, mask={self.mask}"


class EmbeddingDropout(nn.Module):
    """An embedding whose words are dropped in training: whole rows, the same for all occurrences of a word in a call.

    Gal and Ghahramani 2016, section 4; rows that are kept are divided by 1 - p. Called with the weight (V, E) and
    tokens (…, B), it gives (…, B, E); it owns no parameters, so that the weight may be shared with an output
    layer.

    Args:
        p: probability of dropping a word of the vocabulary.

    Raises:
        ValueError: p outside [0, 1].
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        check_rate("p", p)
        self.p = p

    def forward(self, weight: Tensor, tokens: Tensor) -> Tensor:
        vectors = F.embedding(tokens, weight)
        if not self.training or self.p == 0.0:
            return vectors
        # The mask is of the vocabulary, not of the batch: it is the same whichever rows a process holds.
        calls = 1 if of_the_batch("batch") else tokens.shape[-1]
        draws = reaching(Draws.here(draw_key()), "batch")
        events = draws.mask(Kind.EMBEDDING_DROPOUT, self.p, (1, calls, len(weight)), weight.device)
        factors = keep_scale(events[0], self.p, weight.dtype)
        return vectors * factors[torch.arange(calls, device=tokens.device), tokens].unsqueeze(-1)

    def extra_repr(self) -> str:
        return f"p={self.p}"
