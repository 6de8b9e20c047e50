"""Averages of the predictions of several networks, token by token.

Of N networks with weights w_n that sum to 1 (Melis, Blundell, Kočiský et al. 2018 compare such means):

    arithmetic    p(v) = Σ_n w_n p_n(v)
    geometric     p(v) = Π_n p_n(v)^{w_n} / Σ_u Π_n p_n(u)^{w_n}

Shape letters: T time, B batch (streams or pieces side by side), N networks, M tokens (part of T·B), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lsseq.data.batches import Batch
from lsseq.evaluation.draws import Member
from lsseq.model.loss import FEW_LOGITS, at_least_float32


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


def mix(log_p: Tensor, targets: Tensor, weights: Tensor) -> Mixed:
    """The averages for targets (M,) of log-probabilities (N, M, V) with weights (N,)."""
    w, p = weights.view(-1, 1, 1), log_p.exp()
    at = targets.view(1, -1, 1)
    each = log_p.gather(2, at.expand(len(log_p), -1, -1)).squeeze(2)
    geometric = (w * log_p).sum(0)
    log_w = weights.log().unsqueeze(1)
    own = (w * p * log_p).sum((0, 2)).neg()
    return Mixed(
        nll=-torch.logsumexp(each + log_w, 0),
        geometric=geometric.logsumexp(1) - geometric.gather(1, targets.unsqueeze(1)).squeeze(1),
        single=-each,
        curve=log_w.logcumsumexp(0) - (each + log_w).logcumsumexp(0),
        disagreement=torch.special.entr((w * p).sum(0)).sum(1) - own,
    )


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
        # The probabilities of all networks for all tokens of a window would be many: some tokens at a time.
        together = max(1, FEW_LOGITS // (len(self.weights) * self.members[0].model.vocabulary_size))
        nll = []
        for begin in range(0, len(targets), together):
            part = slice(begin, begin + together)
            mixed = self._mix([features[:, part] for features in found], targets[part])
            sums = mixed.summed(counted[part])
            self.total = sums if self.total is None else self.total + sums
            nll.append(torch.where(counted[part], mixed.nll, 0))
        return torch.cat(nll).view(batch.targets.shape)

    def _mix(self, found: Sequence[Tensor], targets: Tensor) -> Mixed:
        logits = [member.model.output.logits(features) for member, features in zip(self.members, found, strict=True)]
        log_p = at_least_float32(torch.cat(logits)).log_softmax(2)
        return mix(log_p, targets, log_p.new_tensor(self.weights))
