"""From a recipe's `model` section to a module."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch

import lsseq.nn as lnn
from lsseq.data.tasks import Form
from lsseq.model.answering import AnsweringModel
from lsseq.model.embedding import NumberInput, TokenInput
from lsseq.model.language_model import LanguageModel
from lsseq.model.lesson import Lesson
from lsseq.model.output import AdaptiveSoftmax, FullSoftmax, OutputLayer
from lsseq.model.recurrence import LearnedState, Recurrence
from lsseq.model.stacked import build_stack
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault


def build_model(model: schema.Model, vocabulary_size: int) -> LanguageModel:
    """The language model that a recipe describes, freshly initialised from PyTorch's default generator.

    Under `torch.device("meta")` no memory is taken, which is enough to count parameters.

    Raises:
        KeyFault: a key that the recurrence cannot serve.
    """
    embedding = _tokens(model, vocabulary_size)
    recurrence = build_recurrence(model, embedding.output_size)
    output = _output(model, recurrence.output_size, embedding)
    if not model.tied:
        embedding.initialise(model.initialisation.range)
    # A weight that is both starts as the output layer's: with the embedding's deviation of 1, logits of deviation √H
    # would begin far above the uniform distribution.
    output.initialise(model.initialisation.range)
    return LanguageModel(
        embedding,
        recurrence,
        output,
        input_dropout=lnn.Dropout(model.dropout.input, mask=model.dropout.mask),
        output_dropout=lnn.Dropout(model.dropout.output, mask=model.dropout.mask),
        initial_state=_learned_state(model, recurrence, embedding.output_size) if model.learned_initial_state else None,
        activation=model.regularisation.activation,
        slowness=model.regularisation.slowness,
        lesson=_lesson(model.boundary),
    )


def build_answering(model: schema.Model, form: Form) -> AnsweringModel:
    """The model that a recipe describes for a task; see `build_model`.

    Raises:
        KeyFault: a key that the recurrence cannot serve, or that is for language models.
    """
    default = schema.Model()
    for key in ("tied", "adaptive_softmax", "regularisation"):
        if getattr(model, key) != getattr(default, key):
            raise KeyFault(f"model.{key}", f"`{key}` is for language models, and the recipe has a data.task")
    if model.boundary.target != "none":
        raise KeyFault("model.boundary.target", "detectors are taught in language models only")
    embedding = _tokens(model, form.inputs) if form.symbols else NumberInput(form.inputs)
    recurrence = build_recurrence(model, embedding.output_size)
    answering = AnsweringModel(
        embedding,
        recurrence,
        None if form.classes is None else len(form.classes),
        input_dropout=lnn.Dropout(model.dropout.input, mask=model.dropout.mask),
        output_dropout=lnn.Dropout(model.dropout.output, mask=model.dropout.mask),
        initial_state=_learned_state(model, recurrence, embedding.output_size) if model.learned_initial_state else None,
    )
    if isinstance(embedding, TokenInput):
        embedding.initialise(model.initialisation.range)
    answering.initialise_output(model.initialisation.range)
    return answering


def build_recurrence(model: schema.Model, input_size: int) -> Recurrence:
    """The recurrence that a recipe names, from the file of that name in `lsseq/model/recurrences`, in its stack."""
    module = importlib.import_module(f"lsseq.model.recurrences.{model.recurrence.replace('-', '_')}")
    build: Callable[[schema.Model, int], Recurrence] = module.build
    return build(model, input_size) if model.stack.kind == "plain" else build_stack(model, input_size, build)


def _tokens(model: schema.Model, vocabulary_size: int) -> TokenInput:
    size = None if model.embedding == "one-hot" else model.embedding
    if size is None and model.dropout.embedding > 0:
        raise KeyFault("model.dropout.embedding", "one-hot input has no embedding to drop words from")
    return TokenInput(vocabulary_size, size, model.dropout.embedding)


def _output(model: schema.Model, size: int, embedding: TokenInput) -> OutputLayer:
    if model.adaptive_softmax is None:
        return FullSoftmax(embedding.vocabulary_size, size, embedding if model.tied else None)
    try:
        return AdaptiveSoftmax(embedding.vocabulary_size, size, model.adaptive_softmax)
    except ValueError as error:
        raise KeyFault("model.adaptive_softmax", str(error)) from error


def _lesson(boundary: schema.Boundary) -> Lesson | None:
    if boundary.target == "none":
        return None
    return Lesson(boundary.target_weight, own=boundary.target == "own-surprise", delay=boundary.delay)


def _learned_state(model: schema.Model, recurrence: Recurrence, input_size: int) -> LearnedState:
    zero = recurrence.zero_state(torch.zeros(1, 1, input_size))
    if zero is None:
        raise KeyFault(
            "model.learned_initial_state", f"the recurrence `{model.recurrence}` cannot learn its initial state"
        )
    return LearnedState(zero, counted=model.norm == "batch")
