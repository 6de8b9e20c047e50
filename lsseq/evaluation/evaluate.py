"""A trained run measured on a split or a text in one of three ways; the values of `lsseq eval --json`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch

from lsseq.data import Split, TextData, Vocabulary, open_text
from lsseq.data.text import refuse_changed
from lsseq.errors import RequestError
from lsseq.evaluation.cache import CacheReader
from lsseq.evaluation.dynamic import dynamic_reader, gradient_statistics
from lsseq.evaluation.perplexity import evaluating, measure_split, protocol
from lsseq.evaluation.reading import Reader, StaticReader, Tokenwise
from lsseq.model.cost import cost, cost_on_text
from lsseq.model.language_model import LanguageModel
from lsseq.recipe import schema

Mode = Literal["deterministic", "dynamic", "cache"]
"""The model as it was trained, with dynamic evaluation, or with the neural cache."""


def evaluate(
    model: LanguageModel,
    split: Split,
    vocabulary: Vocabulary,
    recipe: schema.Recipe,
    *,
    mode: Mode = "deterministic",
    streams: int | None = None,
    device: torch.device | str = "cpu",
    keep: Tokenwise | None = None,
) -> dict[str, Any]:
    """Measure a split.

    Args:
        model: the trained model, on `device`.
        split: what is predicted.
        vocabulary: the model's.
        recipe: `evaluation` says how; `data` is opened for the training text that dynamic evaluation needs.
        mode: how the text is read. `dynamic` and `cache` follow the text, so they carry the state whatever
            `evaluation.pieces` says.
        streams: parts read side by side; `evaluation.streams` where absent.
        keep: takes the nll of every token.

    Returns:
        What `measure_split` returns, what the model costs (`lsseq.model.cost`), and `mode`, `protocol` and `seconds`.

    Raises:
        RequestError: as `measure_split`; for dynamic evaluation also as `open_text`.
    """
    if mode not in get_args(Mode):
        raise RequestError(f"unknown mode `{mode}`; known: {', '.join(get_args(Mode))}")
    began = time.perf_counter()
    evaluation = recipe.evaluation if mode == "deterministic" else recipe.evaluation.model_copy(update={"pieces": None})
    streams = min(streams or evaluation.streams, max(1, len(split.tokens)))
    with _reader(model, vocabulary, recipe, mode, device) as reader:
        values = measure_split(
            model, split, vocabulary, evaluation, streams=streams, device=device, reader=reader, keep=keep
        )
    with evaluating(model):
        values |= cost(model)
    if isinstance(reader, StaticReader):
        values |= cost_on_text(model, reader.told.values(), split.tokens)
    return {
        **values,
        "mode": mode,
        "protocol": protocol(evaluation, streams) + ("; in sample: the corpus has no splits" if split.whole else ""),
        "seconds": time.perf_counter() - began,
    }


def find_split(data: schema.Data, vocabulary: Vocabulary, name: str, fingerprint: str | None = None) -> Split:
    """A split of the text that a recipe names, in the tokens of a vocabulary.

    Args:
        data: the `data` section.
        vocabulary: of the model that reads it.
        name: `train`, `valid` or `test`.
        fingerprint: of the text that it must be; None takes any.

    Raises:
        RequestError: the text has no such split, or is another; and as `open_text`.
    """
    splits = open_with(data, vocabulary, fingerprint).splits
    if name not in splits:
        raise RequestError(f"the text has no split `{name}`; it has {', '.join(splits)}")
    return splits[name]


def open_with(data: schema.Data, vocabulary: Vocabulary, fingerprint: str | None = None) -> TextData:
    """The text that a recipe names, in the tokens of a given vocabulary; arguments and errors as of `find_split`."""
    opened = open_text(data)
    if (opened.vocabulary.unit, opened.vocabulary.contents()) != (vocabulary.unit, vocabulary.contents()):
        # Another sentencepiece finds other pieces of the same text; the run's own are what its model reads.
        opened = open_text(data, vocabulary)
    refuse_changed(fingerprint, opened.fingerprint, opened.source)
    return opened


@contextmanager
def _reader(
    model: LanguageModel,
    vocabulary: Vocabulary,
    recipe: schema.Recipe,
    mode: Mode,
    device: torch.device | str,
) -> Iterator[Reader]:
    if mode == "deterministic":
        yield StaticReader(model)
    elif mode == "cache":
        yield CacheReader(model, recipe.evaluation.cache)
    else:
        rates = recipe.evaluation.dynamic
        text = find_split(recipe.data, vocabulary, "train").tokens
        with evaluating(model):
            statistics = gradient_statistics(model, text, vocabulary.start, segment=rates.segment, device=device)
        with dynamic_reader(model, rates, statistics) as reader:
            yield reader
