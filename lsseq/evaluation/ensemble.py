"""Ensembles measured on a split or a text: draws of the noise of one model, or several models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from lsseq.data import Split, Vocabulary
from lsseq.evaluation.draws import Member, Network, draw
from lsseq.evaluation.evaluate import evaluate
from lsseq.evaluation.mixture import MixtureReader
from lsseq.evaluation.perplexity import evaluating, measure_split, protocol, split_figures
from lsseq.evaluation.reading import Tokenwise
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
    plain = evaluate(model, split, vocabulary, recipe, streams=streams, device=device)
    del values["each"]
    measured = {name: value for name, value in plain.items() if name in (*values["geometric"], "seconds")}
    costs = {name: value for name, value in plain.items() if name in ("parameters", "state_size", "flops_per_token")}
    return {**values, **costs, "samples": samples, "seed": seed, "deterministic": measured}


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


def _measure(
    members: Sequence[Member],
    mode: str,
    split: Split,
    vocabulary: Vocabulary,
    recipe: schema.Recipe,
    streams: int | None,
    device: torch.device | str,
    keep: Tokenwise | None,
) -> dict[str, Any]:
    """Figures of the means, `each` a list with those of every network, and what both kinds of ensemble tell."""
    began = time.perf_counter()
    evaluation = recipe.evaluation
    streams = min(streams or evaluation.streams, max(1, len(split.tokens)))
    reader = MixtureReader(members, mode)
    values = measure_split(
        members[0].model, split, vocabulary, evaluation, streams=streams, device=device, reader=reader, keep=keep
    )
    assert reader.total is not None
    sums = reader.total

    def of(nll_sum: torch.Tensor) -> dict[str, float]:
        return split_figures(float(nll_sum), split, vocabulary)

    tokens = len(split.tokens)
    nll = sums.single / tokens
    curve = {str(count): float(value) / tokens for count, value in enumerate(sums.curve, start=1)}
    return {
        **values,
        "mode": mode,
        "protocol": protocol(evaluation, streams) + ("; in sample: the corpus has no splits" if split.whole else ""),
        "seconds": time.perf_counter() - began,
        "single": {**of(sums.single.mean()), "sd": float(nll.std()) if len(nll) > 1 else None},
        "geometric": of(sums.geometric),
        "curve": curve,
        "disagreement": float(sums.disagreement) / tokens,
        "each": [of(own) for own in sums.single],
    }
