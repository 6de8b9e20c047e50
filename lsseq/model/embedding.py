"""The first part of a model: from what is read to vectors.

Shape letters: T time, B batch, E embedding, I channels, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lsseq.nn as lnn


class TokenInput(nn.Module):
    """Tokens as vectors, learned or one-hot; a negative token (before the first one there is none) is a vector of
    zeros.

    Args:
        vocabulary_size: V.
        size: E of a learned embedding; None for one-hot vectors, whose E is V.
        dropout: probability that a word of a learned embedding is dropped, everywhere in a window.
    """

    weight: nn.Parameter | None
    """(V, E)."""

    def __init__(self, vocabulary_size: int, size: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.output_size = vocabulary_size if size is None else size
        self.register_parameter("weight", None if size is None else nn.Parameter(torch.empty(vocabulary_size, size)))
        self.dropout = lnn.EmbeddingDropout(dropout)

    @torch.no_grad()
    def initialise(self, half_width: float | None) -> None:
        """Start uniform in ±half_width; without one normal with deviation 1, as in `torch.nn`."""
        if self.weight is None:
            return
        if half_width is None:
            nn.init.normal_(self.weight)
        else:
            nn.init.uniform_(self.weight, -half_width, half_width)

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """(T, B) int64 to (T, B, E); `dtype` is that of one-hot vectors."""
        known, present = tokens.clamp(min=0), (tokens >= 0).unsqueeze(-1)
        if self.weight is not None:
            vectors: Tensor = self.dropout(self.weight, known)
            return vectors * present
        zeros = torch.zeros(*tokens.shape, self.vocabulary_size, dtype=dtype, device=tokens.device)
        return zeros.scatter_(-1, known.unsqueeze(-1), present.to(dtype))

    def extra_repr(self) -> str:
        return f"{self.vocabulary_size}, {'one-hot' if self.weight is None else self.output_size}"


class NumberInput(nn.Module):
    """Numbers as they are.

    Args:
        size: I.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.output_size = size

    def forward(self, numbers: Tensor, dtype: torch.dtype) -> Tensor:
        """(T, B, I) in the type of the weights."""
        return numbers.to(dtype)

    def extra_repr(self) -> str:
        return f"{self.output_size}"
