"""From the `data` section of a recipe with a task to its sequences."""

from __future__ import annotations

from pathlib import Path

from lsseq.data.corpus import load_corpus
from lsseq.data.tasks.examples import FILE, Examples, Form
from lsseq.data.tasks.generated import Adding, Copy
from lsseq.data.tasks.images import open_images
from lsseq.data.tasks.labelled import open_labelled
from lsseq.data.text import refuse_changed
from lsseq.data.vocabulary import load_vocabulary
from lsseq.errors import RunError
from lsseq.recipe.schema import Data, Task


def open_task(data: Data, task: Task, run: Path | None = None, fingerprint: str | None = None) -> Examples:
    """The sequences of a recipe's task.

    Args:
        data: the `data` section.
        task: its `task`.
        run: a run folder, whose vocabulary and classes are used instead of those of the text as it is now.
        fingerprint: of the sequences that they must be; None takes any.

    Raises:
        KeyFault: what the task reads is not named or not there.
        RequestError: it cannot be read, with file and line; or it is another.
        RunError: the model of the run reads or answers something else.
    """
    examples = _sequences(data, task, run)
    if run is not None and Form.load(run) != examples.form:
        raise RunError(
            f"{run} was trained on a task of another form: its {FILE} is not that of its recipe",
            hint="one of these files was changed, or what the recipe names",
        )
    refuse_changed(fingerprint, examples.fingerprint, examples.source)
    return examples


def _sequences(data: Data, task: Task, run: Path | None) -> Examples:
    match task.kind:
        case "copy":
            return Copy(task)
        case "adding":
            return Adding(task)
        case "images":
            return open_images(data, task)
        case "classification":
            known = None if run is None else (load_vocabulary(run), Form.load(run).classes or ())
            return open_labelled(data, task, known)


def known_form(data: Data, task: Task) -> Form | None:
    """What a task's model reads and answers, as far as that is known without reading anything.

    Raises:
        KeyFault: an unknown corpus.
    """
    match task.kind:
        case "copy":
            return Copy(task).form
        case "adding":
            return Adding(task).form
        case "images" if data.corpus is not None:
            images = load_corpus(data.corpus).images
            return None if images is None else Form(1, symbols=False, classes=images.classes)
    return None
