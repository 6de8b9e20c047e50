"""From a recipe's `model` section to a module."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch

import lsseq.nn as lnn
from lsseq.model.initialisation import initialise_ends
from lsseq.model.language_model import LanguageModel
from lsseq.model.parts import TokenInput, TokenOutput
from lsseq.model.recurrence import LearnedState, Recurrence
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault


def build_model(model: schema.Model, vocabulary_size: int) -> LanguageModel:
    """The language model that a recipe describes, freshly initialised from PyTorch's default generator.

    Under `torch.device("meta")` no memory is taken, which is enough to count parameters.

    Raises:
        KeyFault: a key that the recurrence cannot serve.
    """
    size = None if model.embedding == "one-hot" else model.embedding
    if size is None and model.dropout.embedding > 0:
        raise KeyFault("model.dropout.embedding", "one-hot input has no embedding to drop words from")
    embedding = TokenInput(vocabulary_size, size, model.dropout.embedding)
    recurrence = build_recurrence(model, embedding.output_size)
    output = TokenOutput(None if model.tied else recurrence.output_size, vocabulary_size)
    initialise_ends(embedding, output, recurrence.output_size, model.initialisation.range)
    return LanguageModel(
        embedding,
        recurrence,
        output,
        input_dropout=lnn.Dropout(model.dropout.input, mask=model.dropout.mask),
        output_dropout=lnn.Dropout(model.dropout.output, mask=model.dropout.mask),
        initial_state=_learned_state(model, recurrence, embedding.output_size) if model.learned_initial_state else None,
        activation=model.regularisation.activation,
        slowness=model.regularisation.slowness,
    )


def build_recurrence(model: schema.Model, input_size: int) -> Recurrence:
    """The recurrence that a recipe names, from the file of that name in `lsseq/model/recurrences`."""
    module = importlib.import_module(f"lsseq.model.recurrences.{model.recurrence.replace('-', '_')}")
    build: Callable[[schema.Model, int], Recurrence] = module.build
    return build(model, input_size)


def _learned_state(model: schema.Model, recurrence: Recurrence, input_size: int) -> LearnedState:
    zero = recurrence.zero_state(torch.zeros(1, 1, input_size))
    if zero is None:
        raise KeyFault(
            "model.learned_initial_state", f"the recurrence `{model.recurrence}` cannot learn its initial state"
        )
    return LearnedState(zero)
