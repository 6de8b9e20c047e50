"""A run folder as a training leaves it, in a fraction of a second, and small language models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from lsseq.cli import main
from lsseq.data import TextData, open_text
from lsseq.model.factory import build_model
from lsseq.model.language_model import LanguageModel
from lsseq.recipe import dump_recipe
from lsseq.recipe.schema import Model, Recipe
from lsseq.runs import RunFolder, write_checkpoint


def tiny_recipe(text: Path, **sections: Any) -> Recipe:
    """A recipe for the text in one file; `sections` are merged over it one level deep."""
    values: dict[str, Any] = {
        "data": {"text": str(text)},
        "model": {"hidden": 16, "embedding": 8},
        "training": {"steps": 1},
        "evaluation": {"window": 50},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
    return Recipe.model_validate(values)


def make_run(folder: Path, recipe: Recipe, *, seed: int = 0, scale: float = 1.0) -> TextData:
    """Write the run of an untrained model, its output layer `scale` times as large, so that it has opinions."""
    data = open_text(recipe.data)
    torch.manual_seed(seed)
    model = build_model(recipe.model, len(data.vocabulary))
    with torch.no_grad():
        for weight in model.output.parameters():
            weight.mul_(scale)
    with RunFolder.claim(folder, resume=False) as run:
        run.write_recipe(dump_recipe(recipe))
        data.vocabulary.save(run.path)
        for name in ("best", "last"):
            write_checkpoint(run.checkpoint(name), {"weights": model.state_dict()}, {"step": 1, "epoch": 0})
    return data


def tiny_model(vocabulary_size: int = 7, *, seed: int = 0, double: bool = True, **keys: Any) -> LanguageModel:
    """A language model of a few units, in float64 unless `double` is off, in evaluation mode."""
    torch.manual_seed(seed)
    model = build_model(Model.model_validate({"hidden": 6, "embedding": 4, **keys}), vocabulary_size)
    return (model.double() if double else model).eval()


@dataclass
class Finished:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def cli_in_process(capture: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """As the fixture `run_cli`, in this process: torch is imported once for all tests."""

    def run(*args: object, check: int = 0) -> Finished:
        capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        finished = Finished(int(ended.value.code or 0), *capture.readouterr())
        assert finished.returncode == check, f"exit code {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
        return finished

    return run
