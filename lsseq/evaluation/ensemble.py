"""Ensembles measured on a split or a text: draws of the noise of one model, all its sub-networks, or several models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from lsseq.data import Split, Vocabulary
from lsseq.evaluation.draws import Member, Network, draw
from lsseq.evaluation.evaluate import evaluate
from lsseq.evaluation.figures import FIGURES
from lsseq.evaluation.mixture import MixtureReader
from lsseq.evaluation.perplexity import evaluating, measure_split, protocol, split_figures
from lsseq.evaluation.reading import Tokenwise
from lsseq.evaluation.sub_networks import sub_networks
from lsseq.model.cost import cost
from lsseq.model.language_model import LanguageModel
from lsseq.recipe import schema


def sampled(
    model: LanguageModel,
    split: Split,
    vocabulary: Vocabulary,
    recipe: schema.Recipe,
    *,
    samples: int,
    seed: int,
    streams: int | None = None,
    device: torch.device | str = "cpu",
    keep: Tokenwise | None = None,
) -> dict[str, Any]:
    """The implicit ensemble of a model: the mean of the probabilities over draws of its noise.

    Each draw reads the whole text with a state of its own.

    Args:
        model, split, vocabulary, recipe, streams, device: as for `lsseq.evaluation.evaluate.evaluate`.
        samples: how many draws.
        seed: of the draws; the first ones are the same whatever their number.
        keep: takes the nll of every token under the mean.

    Returns:
        The keys of `lsseq eval --samples --json`, but for the split.

    Raises:
        RequestError: the model has no noise, or the text is empty.
    """
    members = draw(model, samples, seed, device)
    values = _measure(members, "samples", split, vocabulary, recipe, streams, device, keep)
    del values["each"]
    plain = evaluate(model, split, vocabulary, recipe, streams=streams, device=device)
    return {**values, **_beside(plain), "samples": samples, "seed": seed}


def exact(
    model: LanguageModel,
    split: Split,
    vocabulary: Vocabulary,
    recipe: schema.Recipe,
    *,
    streams: int | None = None,
    device: torch.device | str = "cpu",
    keep: Tokenwise | None = None,
) -> dict[str, Any]:
    """The whole implicit ensemble of a model whose noise has few outcomes: the mean of the probabilities over its
    sub-networks, weighted by those of their paths, which more and more draws approach.

    Each sub-network reads the whole text once, with a state of its own.

    Args:
        model, split, vocabulary, recipe, streams, device, keep: as for `sampled`.

    Returns:
        The keys of `lsseq eval --exact --json`, but for the split.

    Raises:
        RequestError: as `lsseq.evaluation.sub_networks.sub_networks`, or the text is empty.
    """
    members = sub_networks(model, device)
    weights = [member.probability for member in members]
    values = _measure(members, "exact", split, vocabulary, recipe, streams, device, keep, weights)
    each = [
        {"name": member.name, "probability": member.probability, **own}
        for member, own in zip(members, values.pop("each"), strict=True)
    ]
    plain = evaluate(model, split, vocabulary, recipe, streams=streams, device=device)
    return {**values, **_beside(plain), "sub_networks": sorted(each, key=lambda one: float(one["nll"]))}


def together(
    models: Sequence[LanguageModel],
    split: Split,
    vocabulary: Vocabulary,
    recipe: schema.Recipe,
    *,
    streams: int | None = None,
    device: torch.device | str = "cpu",
    keep: Tokenwise | None = None,
) -> dict[str, Any]:
    """The explicit ensemble of several models of one vocabulary: the mean of their probabilities.

    Args:
        models: in the order of the curve.
        split, vocabulary, recipe, streams, device, keep: as for `sampled`.

    Returns:
        The keys of `lsseq eval RUN RUN --json`, but for the split; `runs` has the figures and costs of each model.

    Raises:
        RequestError: the text is empty.
    """
    members = [Network(model) for model in models]
    values = _measure(members, "ensemble", split, vocabulary, recipe, streams, device, keep)
    runs = []
    for model, own in zip(models, values.pop("each"), strict=True):
        with evaluating(model):
            runs.append({**own, **cost(model)})
    return {**values, "parameters": sum(run["parameters"] for run in runs), "runs": runs}


def _beside(plain: dict[str, Any]) -> dict[str, Any]:
    """What stands beside an implicit ensemble, of a deterministic evaluation: its figures and time, and the costs."""
    measured = {name: value for name, value in plain.items() if name in (*FIGURES, "seconds")}
    costs = {name: value for name, value in plain.items() if name in ("parameters", "state_size", "flops_per_token")}
    return {**costs, "deterministic": measured}


def _measure(
    members: Sequence[Member],
    mode: str,
    split: Split,
    vocabulary: Vocabulary,
    recipe: schema.Recipe,
    streams: int | None,
    device: torch.device | str,
    keep: Tokenwise | None,
    weights: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Figures of the means, `each` a list with those of every network, and what all kinds of ensemble tell.

    Without weights, which sum to 1, the networks are a sample of equal ones.
    """
    began = time.perf_counter()
    evaluation = recipe.evaluation
    streams = min(streams or evaluation.streams, max(1, len(split.tokens)))
    reader = MixtureReader(members, mode, weights)
    values = measure_split(
        members[0].model, split, vocabulary, evaluation, streams=streams, device=device, reader=reader, keep=keep
    )
    assert reader.total is not None
    sums = reader.total

    def of(nll_sum: torch.Tensor) -> dict[str, float]:
        return split_figures(float(nll_sum), split, vocabulary)

    tokens = len(split.tokens)
    nll, w = sums.single / tokens, sums.single.new_tensor(reader.weights)
    mean = (w * nll).sum()
    if weights is None:  # a sample
        sd = float(nll.std()) if len(nll) > 1 else None
    else:
        sd = float((w * (nll - mean).square()).sum().sqrt())
    curve = {str(first): float(value) / tokens for first, value in enumerate(sums.curve, start=1)}
    return {
        **values,
        "mode": mode,
        "protocol": protocol(evaluation, streams) + ("; in sample: the corpus has no splits" if split.whole else ""),
        "seconds": time.perf_counter() - began,
        "single": {**of(mean * tokens), "sd": sd},
        "geometric": of(sums.geometric),
        "curve": curve,
        "disagreement": float(sums.disagreement) / tokens,
        "each": [of(own) for own in sums.single],
    }
