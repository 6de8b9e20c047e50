"""Averages of the predictions of several networks, token by token.

Of N networks with weights w_n that sum to 1 (Melis, Blundell, Kočiský et al. 2018 compare such means):

    arithmetic    p(v) = Σ_n w_n p_n(v)
    geometric     p(v) = Π_n p_n(v)^{w_n} / Σ_u Π_n p_n(u)^{w_n}

Shape letters: T time, B batch (streams or pieces side by side), N networks, M tokens (part of T·B), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lsseq.data.batches import Batch
from lsseq.evaluation.draws import Member
from lsseq.model.loss import at_least_float32

FEW_LOGITS = 2**23
"""So many are held at once, 32 MiB in float32: products of few rows are slow."""
IN_CACHE = 2**20
"""So many are averaged at once: they are gone through several times, best in the processor's cache."""


@dataclass
class Mixed:
    """What N networks say together of M tokens; and summed over tokens, the same without M."""

    nll: Tensor
    """(M,): nats of the arithmetic mean."""
    geometric: Tensor
    """(M,): nats of the geometric mean."""
    single: Tensor
    """(N, M): nats of each network."""
    curve: Tensor
    """(N, M): nats of the arithmetic mean of the first 1 … N, by their weights."""
    disagreement: Tensor
    """(M,): nats of mutual information between token and network, H[Σ w_n p_n] - Σ w_n H[p_n]."""

    def summed(self, counted: Tensor) -> Mixed:
        """Over the tokens that count (M,), in float64."""
        return Mixed(*(torch.where(counted, part, 0).sum(-1, dtype=torch.float64) for part in vars(self).values()))

    def __add__(self, other: Mixed) -> Mixed:
        return Mixed(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def mix(logits: Tensor, targets: Tensor, weights: Tensor) -> Mixed:
    """The averages for targets (M,) of logits (N, M, V) with weights (N,).

    All that is (N, M, V) is gone through as seldom as can be: over a large vocabulary that is what an average costs.
    """
    p = logits.softmax(2)
    # A largest probability is at least 1/V, so that its logarithm gives the normaliser without another exponential.
    normaliser = logits.amax(2) - p.amax(2).log()
    at = targets.unsqueeze(1)
    each = logits.gather(2, at.expand(len(logits), -1, -1)).squeeze(2) - normaliser
    arithmetic, geometric = ((weights @ values.flatten(1)).view(values.shape[1:]) for values in (p, logits))
    entropies = normaliser - p.mul_(logits).sum(2)
    log_w = weights.log().unsqueeze(1)
    return Mixed(
        nll=-torch.logsumexp(each + log_w, 0),
        geometric=geometric.logsumexp(1) - geometric.gather(1, at).squeeze(1),
        single=-each,
        curve=log_w.logcumsumexp(0) - (each + log_w).logcumsumexp(0),
        disagreement=_entropy(arithmetic) - weights @ entropies,
    )


def _entropy(p: Tensor) -> Tensor:
    """(M,): nats of distributions (M, V); `torch.special.entr` takes several times as long on a CPU."""
    entropy: Tensor = -torch.linalg.vecdot(p, p.clamp(min=torch.finfo(p.dtype).tiny).log())
    return entropy


class MixtureReader:
    """Reads a text with all networks of an ensemble side by side; the arithmetic mean is what predicts.

    Args:
        members: the networks, of one vocabulary.
        mode: `samples`, `exact` or `ensemble`.
        weights: of the networks, in their order, which sum to 1; equal where absent.
    """

    window: int | None = None

    def __init__(self, members: Sequence[Member], mode: str, weights: Sequence[float] | None = None) -> None:
        self.members, self.mode = members, mode
        count = sum(member.count for member in members)
        self.weights = weights or [1 / count] * count
        self.total: Mixed | None = None
        """Sums over the tokens that were read."""

    @torch.inference_mode()
    def read(self, batch: Batch, fresh: bool) -> Tensor:
        # (N, T·B, H) of each member.
        found = [member.features(batch, fresh).transpose(0, 1).flatten(1, 2) for member in self.members]
        targets = batch.targets.flatten()
        counted = torch.ones_like(targets, dtype=torch.bool) if batch.mask is None else batch.mask.flatten()
        nll, done = [], 0
        for mixed in self._mixed(found, targets):
            own = counted[done : done + len(mixed.nll)]
            done += len(own)
            sums = mixed.summed(own)
            self.total = sums if self.total is None else self.total + sums
            nll.append(torch.where(own, mixed.nll, 0))
        return torch.cat(nll).view(batch.targets.shape)

    def _mixed(self, found: Sequence[Tensor], targets: Tensor) -> Iterator[Mixed]:
        """The averages for some targets after the others: all networks' probabilities for a window would be many."""
        of_a_token = len(self.weights) * self.members[0].model.vocabulary_size
        together, few = (max(1, number // of_a_token) for number in (FEW_LOGITS, IN_CACHE))
        for begin in range(0, len(targets), together):
            part = slice(begin, begin + together)
            logits = self._logits([features[:, part] for features in found])
            weights = logits.new_tensor(self.weights)
            for own, at in zip(torch.split(logits, few, dim=1), torch.split(targets[part], few), strict=True):
                yield mix(own.contiguous(), at, weights)

    def _logits(self, found: Sequence[Tensor]) -> Tensor:
        """(N, M, V) of all networks, from the features (n, M, H) of each member's n."""
        # As rows, for which a product with a bias is one call.
        each = [
            member.model.output.logits(features.flatten(0, 1)).reshape(*features.shape[:2], -1)
            for member, features in zip(self.members, found, strict=True)
        ]
        return at_least_float32(torch.cat(each) if len(each) > 1 else each[0])
