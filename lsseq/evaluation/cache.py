"""Neural cache (Grave et al. 2017): a pointer to the recent past.

With h_t the features that predict x_{t+1}, and the last N tokens with the features that predicted them in the cache,

    p_cache(w) ∝ Σ_{i in cache} 1[x_{i+1} = w]·exp(θ·h_t·h_i)
    p(w) = (1 - λ)·p_model(w) + λ·p_cache(w)

While the cache is empty, p is the model's. Shape letters: T time, B batch, H features, S tokens in the cache, N its
size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lsseq.data.batches import Batch
from lsseq.model.language_model import LanguageModel
from lsseq.nn.state import State
from lsseq.recipe import schema


class CacheReader:
    """The model mixed with a cache of its own features; every stream has its own."""

    mode = "cache"
    window: int | None = None

    def __init__(self, model: LanguageModel, cache: schema.NeuralCache) -> None:
        self.model = model
        self.size, self.flatness, self.weight = cache.size, cache.flatness, cache.weight
        self.state: State = None
        self._keys: Tensor | None = None  # (S, B, H)
        self._tokens: Tensor | None = None  # (S, B)

    @torch.inference_mode()
    def read(self, batch: Batch, fresh: bool) -> Tensor:
        if fresh:
            self.state = self._keys = self._tokens = None
        features, self.state, _ = self.model.features(batch.inputs, self.state)
        keys = features if self._keys is None else torch.cat([self._keys, features])
        tokens = batch.targets if self._tokens is None else torch.cat([self._tokens, batch.targets])
        nll = self._mixed(self.model.nll(features, batch), self._log_p(features, keys, batch.targets, tokens))
        self._keys, self._tokens = keys[-self.size :], tokens[-self.size :]
        return nll if batch.mask is None else nll.where(batch.mask, 0.0)

    def _log_p(self, features: Tensor, keys: Tensor, targets: Tensor, tokens: Tensor) -> Tensor:
        """(T, B): log p_cache of each target; NaN while the cache is empty."""
        T, S = len(features), len(keys)
        now = torch.arange(S - T, S, device=keys.device).unsqueeze(1)
        then = torch.arange(S, device=keys.device)
        remembered = (then < now) & (then >= now - self.size)  # (T, S)
        scores = self.flatness * torch.einsum("tbh,sbh->bts", features, keys)
        scores = scores.masked_fill(~remembered, -math.inf)
        same = targets.t().unsqueeze(2) == tokens.t().unsqueeze(1)  # (B, T, S)
        log_p = scores.masked_fill(~same, -math.inf).logsumexp(2) - scores.logsumexp(2)
        return log_p.t()

    def _mixed(self, nll: Tensor, log_p_cache: Tensor) -> Tensor:
        log_weight = math.log(self.weight) if self.weight > 0 else -math.inf
        log_rest = math.log1p(-self.weight) if self.weight < 1 else -math.inf
        mixed = -torch.logaddexp(log_rest - nll, log_weight + log_p_cache)
        return nll.where(log_p_cache.isnan(), mixed)
