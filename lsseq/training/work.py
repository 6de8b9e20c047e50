"""What a recipe gives a model to learn: a text, or the sequences of a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch

from lsseq.data import TextData, open_text
from lsseq.data.batches import TextWindows, TrainingWindows, training_windows
from lsseq.data.tasks import Examples, ExampleWindows, open_task
from lsseq.errors import RequestError
from lsseq.evaluation import measure_split
from lsseq.evaluation.answers import measure_examples
from lsseq.model.base import SequenceModel
from lsseq.model.factory import build_answering, build_model
from lsseq.processes.group import ALONE, Processes
from lsseq.recipe.schema import Recipe
from lsseq.runs import RunFolder, load_run, load_task
from lsseq.training.state import Figures
from lsseq.training.teachers import training_marks


class Work(ABC):
    """All that a training has to know of what it trains on."""

    windows: TrainingWindows
    fingerprint: str
    """Equal fingerprints mean equal data."""
    source: str
    """What the data are, for people."""
    splits: tuple[str, ...]
    symbols: int | None
    """The different ones that a model reads; None where it reads numbers."""

    @abstractmethod
    def build_model(self) -> SequenceModel:
        """The recipe's model for it, freshly initialised from PyTorch's default generator."""

    @abstractmethod
    def measure(self, model: SequenceModel, device: torch.device, processes: Processes = ALONE) -> Figures:
        """The figures F of the validation split, for a model in evaluation mode; several processes share the work."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write into a run folder what the model cannot be used without."""

    @abstractmethod
    def model_of(self, run: str) -> tuple[RunFolder, SequenceModel]:
        """The best model of another run that learned the same kind of thing.

        Raises:
            RequestError: it learned another.
        """

    def prepare(self, device: torch.device) -> None:
        """Called before the first step of each session, when the model is as it will be trained."""
        del device


class TextWork(Work):
    """To predict the next token."""

    windows: TextWindows

    def __init__(self, recipe: Recipe, data: TextData) -> None:
        self.recipe, self.data = recipe, data
        self.windows = training_windows(data.splits["train"].tokens, recipe.training, data.vocabulary.start)
        self.fingerprint, self.source, self.splits = data.fingerprint, data.source, tuple(data.splits)
        self.symbols = len(data.vocabulary)

    def build_model(self) -> SequenceModel:
        return build_model(self.recipe.model, len(self.data.vocabulary))

    def measure(self, model: SequenceModel, device: torch.device, processes: Processes = ALONE) -> Figures:
        valid, evaluation = self.data.splits["valid"], self.recipe.evaluation
        options: dict[str, Any] = {"streams": evaluation.training_streams, "device": device, "processes": processes}
        return measure_split(model, valid, self.data.vocabulary, evaluation, **options)

    def save(self, folder: Path) -> None:
        self.data.vocabulary.save(folder)

    def model_of(self, run: str) -> tuple[RunFolder, SequenceModel]:
        loaded, ours = load_run(run), self.data.vocabulary
        theirs = loaded.vocabulary
        if [theirs.token(i) for i in range(len(theirs))] != [ours.token(i) for i in range(len(ours))]:
            raise RequestError(
                f"{loaded.folder} has another vocabulary: {len(theirs)} tokens there, {len(ours)} here",
                hint=f"train on it with data.vocabulary={loaded.folder.path / 'vocabulary.json'}",
            )
        return loaded.folder, loaded.model

    def prepare(self, device: torch.device) -> None:
        if (marks := training_marks(self.recipe, self.data, device)) is not None:
            self.windows.teach(marks)


class TaskWork(Work):
    """To answer what a task asks."""

    def __init__(self, recipe: Recipe, examples: Examples) -> None:
        self.recipe, self.examples = recipe, examples
        self.windows = ExampleWindows(examples, recipe.training)
        self.fingerprint, self.source, self.splits = examples.fingerprint, examples.source, examples.splits
        self.symbols = examples.form.inputs if examples.form.symbols else None

    def build_model(self) -> SequenceModel:
        return build_answering(self.recipe.model, self.examples.form)

    def measure(self, model: SequenceModel, device: torch.device, processes: Processes = ALONE) -> Figures:
        return measure_examples(model, self.examples, "valid", device=device, processes=processes)

    def save(self, folder: Path) -> None:
        self.examples.save(folder)

    def model_of(self, run: str) -> tuple[RunFolder, SequenceModel]:
        loaded = load_task(run)
        if loaded.form.classes != self.examples.form.classes:
            raise RequestError(f"{loaded.folder} was trained on other classes")
        return loaded.folder, loaded.model


def open_work(recipe: Recipe) -> Work:
    """What a recipe gives to learn.

    Raises:
        KeyFault: the data are not named or not there, or too few.
        RequestError: they cannot be read, with file and line.
    """
    if recipe.data.task is None:
        return TextWork(recipe, open_text(recipe.data))
    return TaskWork(recipe, open_task(recipe.data, recipe.data.task))
