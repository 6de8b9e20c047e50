"""A trained model back from its run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsseq.errors import RequestError, RunError
from lsseq.runs.checkpoint import read_checkpoint
from lsseq.runs.folder import RunFolder
from lsseq.runs.saved import saved

if TYPE_CHECKING:
    from torch import Tensor

    from lsseq.data.tasks import Form
    from lsseq.data.vocabulary import Vocabulary
    from lsseq.model.answering import AnsweringModel
    from lsseq.model.base import SequenceModel
    from lsseq.model.language_model import LanguageModel
    from lsseq.recipe.schema import Recipe


@dataclass(frozen=True)
class LoadedRun:
    """What the run folder of a language model holds for those who use it."""

    folder: RunFolder
    recipe: Recipe
    vocabulary: Vocabulary
    model: LanguageModel
    """In evaluation mode, with the averaged weights where the run averaged them."""
    step: int
    """Steps of the optimiser behind the weights."""
    fingerprint: str | None
    """Of the text that it was trained on; None where the checkpoint does not tell."""
    values: dict[str, Any]
    """What the checkpoint holds beside tensors."""


@dataclass(frozen=True)
class LoadedTask:
    """The same of a run that was trained on a task."""

    folder: RunFolder
    recipe: Recipe
    form: Form
    model: AnsweringModel
    """In evaluation mode, with the averaged weights where the run averaged them."""
    fingerprint: str | None
    """Of the sequences that it was trained on; None where the checkpoint does not tell."""


def load_run(run: str | os.PathLike[str], checkpoint: str = "best", device: str = "cpu") -> LoadedRun:
    """Load the language model of a run.

    Args:
        run: a run folder, or its name under `runs/`.
        checkpoint: `best` (lowest validation nll) or `last`.
        device: where the model goes.

    Raises:
        RequestError: there is no such run, or it was trained on a task.
        RunError: the checkpoint is missing or damaged, or does not fit the recipe.
    """
    from lsseq.data.vocabulary import load_vocabulary
    from lsseq.model.factory import build_model

    folder, recipe = _open(run)
    if recipe.data.task is not None:
        raise RequestError(
            f"{folder} was trained on the task `{recipe.data.task.kind}`; it is no language model",
            hint=f"`lsseq eval {folder}` measures it",
        )
    path = folder.checkpoint(checkpoint)
    tensors, values = read_checkpoint(path, ["weights"], device)
    told = saved(values, path)
    vocabulary = load_vocabulary(folder.path)
    model = build_model(recipe.model, len(vocabulary)).to(device)
    _fill(model, tensors["weights"], folder, checkpoint)
    return LoadedRun(folder, recipe, vocabulary, model.eval(), told.step, told.text, values)


def load_task(run: str | os.PathLike[str], checkpoint: str = "best", device: str = "cpu") -> LoadedTask:
    """Load the model of a run that was trained on a task; arguments as in `load_run`.

    Raises:
        RequestError: there is no such run, or it is a language model.
        RunError: the checkpoint is missing or damaged, or does not fit the recipe.
    """
    from lsseq.data.tasks import Form
    from lsseq.model.factory import build_answering

    folder, recipe = _open(run)
    if recipe.data.task is None:
        raise RequestError(f"{folder} is a language model; it was trained on no task")
    path = folder.checkpoint(checkpoint)
    tensors, values = read_checkpoint(path, ["weights"], device)
    told = saved(values, path)
    form = Form.load(folder.path)
    model = build_answering(recipe.model, form).to(device)
    _fill(model, tensors["weights"], folder, checkpoint)
    return LoadedTask(folder, recipe, form, model.eval(), told.text)


def _open(run: str | os.PathLike[str]) -> tuple[RunFolder, Recipe]:
    from lsseq.recipe import read_resolved

    folder = RunFolder.open(run)
    return folder, read_resolved(folder.recipe)


def _fill(model: SequenceModel, weights: Mapping[str, Tensor], folder: RunFolder, checkpoint: str) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(
            f"the checkpoint `{checkpoint}` of {folder} does not fit its recipe: {error}",
            hint=f"{folder.recipe} was changed after training, or another version of lsseq wrote the run",
        ) from error
