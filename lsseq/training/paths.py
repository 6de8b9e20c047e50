"""The files that a recipe names, by paths that hold from every folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lsseq.recipe.schema import HubDataset, Recipe, TextSplits


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe as a run keeps it: files and folders that it names relative to the working folder are absolute."""
    data = recipe.data
    text, dataset = data.text, data.dataset
    if isinstance(text, TextSplits):
        text = TextSplits(**_absolute(text.model_dump()))
    if dataset is not None:
        # With files, the name is that of their format; `json` may be a folder, too.
        key = "name" if dataset.files is None else "files"
        dataset = HubDataset(**(dataset.model_dump() | {key: _absolute(getattr(dataset, key))}))
    update = {"text": _absolute(text), "dataset": dataset, "vocabulary": _absolute(data.vocabulary)}
    return recipe.model_copy(update={"data": data.model_copy(update=update)})


def _absolute(value: Any) -> Any:
    """Every string that is the path of something there as an absolute path, in lists and mappings too."""
    if isinstance(value, str):
        return str(Path(value).absolute()) if Path(value).exists() else value
    if isinstance(value, list):
        return [_absolute(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _absolute(inner) for key, inner in value.items()}
    return value
