"""The last part of a language model: from features to the probabilities of what follows.

Shape letters: N tokens (T·B), H features, V vocabulary.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from lsseq.data.batches import Tokens
from lsseq.model.embedding import TokenInput
from lsseq.model.loss import each_nll, total_nll
from lsseq.nn.cost import weight_flops
from lsseq.nn.kernels.products import linear


class OutputLayer(nn.Module, ABC):
    """A distribution over V tokens for each vector of H features. A target that is `loss.IGNORED` does not count."""

    @abstractmethod
    def initialise(self, half_width: float | None) -> None:
        """Start the weights uniform in ±half_width; without one in ±1/√(features that a weight reads). Biases are 0."""

    @abstractmethod
    def total_nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """Sum of the negative log-likelihoods in nats, a scalar, of targets (N,) after features (N, H); for training.

        It is differentiable once, and never holds all logits of many tokens.
        """

    @abstractmethod
    def each_nll(self, features: Tensor, targets: Tensor) -> Tensor:
        """(N,): the negative log-likelihood of each target in nats, 0 where it does not count; for evaluation."""

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """(…, H) to (…, V): the logarithms of the probabilities, but for a number that all of a vector have added."""

    @abstractmethod
    def flops(self) -> int:
        """Floating point operations of the products with weights for all logits of a vector (`lsseq.nn.cost`)."""

    def flops_demanded(self, targets: Tokens) -> float:
        """The mean of those that the probabilities of some targets (N,) demand."""
        del targets
        return self.flops()


class FullSoftmax(OutputLayer):
    """p = softmax(x Wᵀ + b).

    Args:
        vocabulary_size: V.
        size: H.
        tied: its weight is W, which must be (V, H); without it W is a parameter of this layer.
    """

    weight: nn.Parameter | None
    """(V, H); None where it is tied."""

    def __init__(self, vocabulary_size: int, size: int, tied: TokenInput | None = None) -> None:
        super().__init__()
        self.size = size
        # In a tuple, so that a tied weight is a parameter of the embedding alone and a checkpoint holds it once.
        self._tied = (tied,)
        self.register_parameter("weight", nn.Parameter(torch.empty(vocabulary_size, size)) if tied is None else None)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    @property
    def matrix(self) -> Tensor:
        """W (V, H), its own or the embedding's."""
        (tied,) = self._tied
        weight = self.weight if tied is None else tied.weight
        assert weight is not None
        return weight

    @torch.no_grad()
    def initialise(self, half_width: float | None) -> None:
        width = 1 / math.sqrt(self.size) if half_width is None else half_width
        nn.init.uniform_(self.matrix, -width, width)

    def total_nll(self, features: Tensor, targets: Tensor) -> Tensor:
        return total_nll(features, self.matrix, self.bias, targets)

    def each_nll(self, features: Tensor, targets: Tensor) -> Tensor:
        return each_nll(features, self.matrix, self.bias, targets)

    def logits(self, features: Tensor) -> Tensor:
        return linear(features, self.matrix, self.bias)

    def flops(self) -> int:
        return 2 * self.matrix.numel()

    def extra_repr(self) -> str:
        return f"{self.size}, {len(self.bias)}" + (", tied" if self.weight is None else "")


class AdaptiveSoftmax(OutputLayer):
    """Rare tokens in clusters, each chosen as if it were a token (Grave et al. 2017, "Efficient softmax approximation
    for GPUs").

    The head is a softmax over the tokens below the first cutoff and over the clusters; a token w of cluster k, the
    tokens from one cutoff to the next, has p(w) = p_head(k)·softmax(W_k P_k x)[w], where P_k takes H features to H/4ᵏ.
    A cluster is computed only for the targets that are in it. There are no biases. The parameters are those of
    `torch.nn.AdaptiveLogSoftmaxWithLoss`.

    Args:
        vocabulary_size: V; the tokens are numbered by falling frequency.
        size: H.
        cutoffs: ascending, below V.

    Raises:
        ValueError: the cutoffs reach the end of the vocabulary, or a cluster would be left without a feature.
    """

    DIVISOR = 4
    """Each cluster reads so many times fewer features than the one before it, as in the paper."""

    def __init__(self, vocabulary_size: int, size: int, cutoffs: list[int]) -> None:
        super().__init__()
        if cutoffs[-1] >= vocabulary_size:
            raise ValueError(f"the last cutoff ({cutoffs[-1]}) must be below the {vocabulary_size} of the vocabulary")
        if size < (needed := self.DIVISOR ** len(cutoffs)):
            raise ValueError(f"{len(cutoffs)} cutoffs need an output of at least {needed} units (got {size})")
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(size, vocabulary_size, cutoffs, div_value=self.DIVISOR)

    @torch.no_grad()
    def initialise(self, half_width: float | None) -> None:
        if half_width is None:
            self.softmax.reset_parameters()
            return
        for weight in self.parameters():
            nn.init.uniform_(weight, -half_width, half_width)

    def total_nll(self, features: Tensor, targets: Tensor) -> Tensor:
        of_head, clusters = self._split(features, targets)
        total = total_nll(features, self.softmax.head.weight, None, of_head)
        for _, inner, weight, within in clusters:
            total = total + total_nll(inner, weight, None, within)
        return total

    def each_nll(self, features: Tensor, targets: Tensor) -> Tensor:
        of_head, clusters = self._split(features, targets)
        nll = each_nll(features, self.softmax.head.weight, None, of_head)
        for rows, inner, weight, within in clusters:
            nll = nll.index_add(0, rows, each_nll(inner, weight, None, within))
        return nll

    def logits(self, features: Tensor) -> Tensor:
        log_p: Tensor = self.softmax.log_prob(features.reshape(-1, features.shape[-1]))
        return log_p.view(*features.shape[:-1], -1)

    def flops(self) -> int:
        return weight_flops(self.softmax.head, "weight") + sum(
            map(self._flops_of_cluster, range(self.softmax.n_clusters))
        )

    def flops_demanded(self, targets: Tokens) -> float:
        total: float = weight_flops(self.softmax.head, "weight")
        for number, (low, high) in enumerate(pairwise(self.softmax.cutoffs)):
            total += float(((targets >= low) & (targets < high)).mean()) * self._flops_of_cluster(number)
        return total

    def _flops_of_cluster(self, number: int) -> int:
        return sum(weight_flops(layer, "weight") for layer in cast(nn.Sequential, self.softmax.tail[number]))

    def _split(self, features: Tensor, targets: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor, Tensor]]]:
        """The targets of the head (N,), and for each cluster the M rows whose targets are in it, what it reads there
        (M, H/4ᵏ), its weight, and the targets counted from its first token (M,)."""
        of_head, clusters = targets, []
        for number, (low, high) in enumerate(pairwise(self.softmax.cutoffs)):
            inside = (targets >= low) & (targets < high)
            of_head = of_head.masked_fill(inside, self.softmax.shortlist_size + number)
            rows = inside.nonzero().squeeze(1)
            project, words = cast("list[nn.Linear]", self.softmax.tail[number])
            clusters.append((rows, project(features[rows]), words.weight, targets[rows] - low))
        return of_head, clusters
