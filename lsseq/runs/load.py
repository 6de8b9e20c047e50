"""A trained model back from its run folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsseq.errors import RunError
from lsseq.runs.checkpoint import read_checkpoint
from lsseq.runs.folder import RunFolder

if TYPE_CHECKING:
    from lsseq.data.vocabulary import Vocabulary
    from lsseq.model.language_model import LanguageModel
    from lsseq.recipe.schema import Recipe


@dataclass(frozen=True)
class LoadedRun:
    """What a run folder holds for those who use its model."""

    folder: RunFolder
    recipe: Recipe
    vocabulary: Vocabulary
    model: LanguageModel
    """In evaluation mode, with the averaged weights where the run averaged them."""
    step: int
    """Steps of the optimiser behind the weights."""
    values: dict[str, Any]
    """What the checkpoint holds beside tensors."""


def load_run(run: str | os.PathLike[str], checkpoint: str = "best", device: str = "cpu") -> LoadedRun:
    """Load the model of a run.

    Args:
        run: a run folder, or its name under `runs/`.
        checkpoint: `best` (lowest validation nll) or `last`.
        device: where the model goes.

    Raises:
        RequestError: there is no such run.
        RunError: the checkpoint is missing or damaged, or does not fit the recipe.
    """
    from lsseq.data.vocabulary import load_vocabulary
    from lsseq.model.factory import build_model
    from lsseq.recipe import load_recipe

    folder = RunFolder.open(run)
    tensors, values = read_checkpoint(folder.checkpoint(checkpoint), ["weights"], device)
    recipe = load_recipe(str(folder.recipe)).recipe
    vocabulary = load_vocabulary(folder.path)
    model = build_model(recipe.model, len(vocabulary)).to(device)
    try:
        model.load_state_dict(tensors["weights"])
    except RuntimeError as error:
        raise RunError(
            f"the checkpoint `{checkpoint}` of {folder} does not fit its recipe: {error}",
            hint=f"{folder.recipe} was changed after training, or another version of lsseq wrote the run",
        ) from error
    return LoadedRun(folder, recipe, vocabulary, model.eval(), int(values["step"]), values)
