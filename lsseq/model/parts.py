"""The first and the last part of a language model: from tokens to vectors, and from vectors to logits.

Shape letters: T time, B batch, E embedding, H hidden, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lsseq.nn.random import Kind, bernoulli, draw_key, keep_scale


class TokenInput(nn.Module):
    """Tokens as vectors, learned or one-hot; a negative token (before the first one there is none) is a vector of zeros.

    Args:
        vocabulary_size: V.
        size: E of a learned embedding; None for one-hot vectors, whose E is V.
        dropout: probability that a word type is missing from a whole window (Gal & Ghahramani 2016): one draw a window for
            each of the V types, the same in every stream. What stays is divided by one minus it.
    """

    weight: nn.Parameter | None
    """(V, E)."""

    def __init__(self, vocabulary_size: int, size: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.output_size = vocabulary_size if size is None else size
        self.dropout = dropout
        self.register_parameter("weight", None if size is None else nn.Parameter(torch.empty(vocabulary_size, size)))

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """(T, B) int64 to (T, B, E); `dtype` is that of one-hot vectors."""
        known = tokens.clamp(min=0)
        if self.weight is None:
            vectors = F.one_hot(known, self.vocabulary_size).to(dtype)
        else:
            vectors = F.embedding(known, self.weight)
        scale = (tokens >= 0).to(vectors.dtype)
        if self.training and self.dropout > 0:
            scale *= self._type_scale(vectors)[known]
        return vectors * scale.unsqueeze(-1)

    def _type_scale(self, like: Tensor) -> Tensor:
        """(V,): 0 for a word type that is dropped from this window."""
        V = self.vocabulary_size
        dropped = bernoulli(draw_key(), 0, Kind.EMBEDDING_DROPOUT, self.dropout, 1, 1, V, device=like.device)
        return keep_scale(dropped.flatten(), self.dropout, like.dtype)

    def extra_repr(self) -> str:
        size = "one-hot" if self.weight is None else str(self.output_size)
        return f"{self.vocabulary_size}, {size}" + (f", dropout={self.dropout}" if self.dropout else "")


class TokenOutput(nn.Module):
    """The parameters of the output layer, logits = x Wᵀ + b; with `size` None W is that of the embedding (tied weights)."""

    weight: nn.Parameter | None
    """(V, H)."""

    def __init__(self, size: int | None, vocabulary_size: int) -> None:
        super().__init__()
        # A tied weight is a parameter of the embedding alone, so that a checkpoint holds it once.
        self.register_parameter("weight", None if size is None else nn.Parameter(torch.empty(vocabulary_size, size)))
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def extra_repr(self) -> str:
        return "tied" if self.weight is None else f"{self.weight.shape[1]}, {self.weight.shape[0]}"
