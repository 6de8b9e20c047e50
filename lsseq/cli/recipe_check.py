"""What `lsseq recipes check` finds out about one recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsseq.errors import LsseqError, Problem, RequestError, render
from lsseq.recipe import KeyFault, Loaded, load_recipe
from lsseq.recipe.schema import Data, Recipe

if TYPE_CHECKING:
    from lsseq.model.base import SequenceModel

BYTES = 256
"""Tokens of a vocabulary of bytes."""
FAR = 0.02
"""Relative difference from the published number of parameters that is pointed out."""


@dataclass(frozen=True)
class Checked:
    """A recipe, and either its number of parameters or its fault."""

    name: str
    parameters: int | None = None
    """None, too, where the size of the vocabulary is not known without the text."""
    published: int | None = None
    """Parameters that the source of a published figure states."""
    explanation: str | None = None
    """What the recipe says of the difference."""
    fault: LsseqError | None = None

    @property
    def difference(self) -> float | None:
        """Relative difference of the parameters from the published ones."""
        if self.parameters is None or self.published is None:
            return None
        return self.parameters / self.published - 1.0

    @property
    def is_far(self) -> bool:
        """Whether the difference needs an explanation."""
        return self.difference is not None and abs(self.difference) > FAR

    @property
    def problems(self) -> list[Problem]:
        return self.fault.problems if self.fault else []

    def values(self) -> dict[str, Any]:
        """For --json: what does not apply is absent."""
        values = {"name": self.name, "valid": self.fault is None, "parameters": self.parameters}
        values |= {"published": self.published, "difference": self.difference}
        values["far"] = None if self.difference is None else self.is_far
        values["explanation"] = self.explanation
        values["error"] = render(self.fault) if self.fault else None
        return {name: value for name, value in values.items() if value is not None}


def check(name: str) -> Checked:
    """Load a recipe, build its model on the meta device and count."""
    try:
        loaded = load_recipe(name)
        with loaded.blame():
            parameters = _parameters(loaded)
    except RequestError as fault:
        return Checked(name, fault=fault)
    figure = next((figure for figure in loaded.recipe.published if figure.parameters), None)
    if figure is None:
        return Checked(name, parameters)
    return Checked(name, parameters, figure.parameters, figure.difference)


def _parameters(loaded: Loaded) -> int | None:
    import torch

    from lsseq.model.cost import count_parameters

    with torch.device("meta"):
        model, known = _model(loaded.recipe)
    return count_parameters(model) if known else None


def _model(recipe: Recipe) -> tuple[SequenceModel, bool]:
    """The model of a recipe, and whether its size is the true one; without the data a stand-in shows its faults."""
    from lsseq.model.factory import build_answering, build_model

    data = recipe.data
    if data.task is None:
        size = _vocabulary_size(data)
        return build_model(recipe.model, size or BYTES), size is not None

    from lsseq.data.tasks import Form, known_form

    form = known_form(data, data.task)
    stand_in = Form(BYTES, symbols=data.task.kind == "classification", classes=("", " "))
    return build_answering(recipe.model, form or stand_in), form is not None


def _vocabulary_size(data: Data) -> int | None:
    if data.corpus is None and data.text is None and data.dataset is None:
        raise KeyFault("data", "the recipe names no text", hint="give data.corpus, data.text or data.dataset")
    if data.unit == "byte":
        return BYTES
    if data.vocabulary_size is None and data.text is None and data.dataset is None and data.vocabulary is None:
        message = f"data.vocabulary_size is missing; without it the model of the corpus `{data.corpus}` has no size"
        raise KeyFault("data.corpus", message)
    return data.vocabulary_size
