"""From a run to a folder with its model in other forms."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

import lsseq
from lsseq.data.batches import START
from lsseq.errors import RequestError
from lsseq.export.forms import FORMS, difference
from lsseq.export.step import Subject
from lsseq.recipe import load_recipe
from lsseq.runs import RunFolder, load_run, load_task
from lsseq.runs.files import replace

DESCRIPTION = "export.json"


def export(run: RunFolder, checkpoint: str, forms: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write the model of a run, and what reads and names its tokens, into a folder.

    Args:
        run: the run.
        checkpoint: `best` or `last`.
        forms: names of `FORMS`; none for all that the model can have.
        folder: is made where it is not there; an earlier export in it is written over.

    Returns:
        The values of `lsseq export --json`.

    Raises:
        RequestError: the model cannot have a form that is asked for, or the folder holds something else.
        RunError: the checkpoint is damaged, PyTorch cannot trace the model, or what came out computes something else.
    """
    _check_folder(folder)
    subject, described = _open(run, checkpoint)
    obstacles = {name: form.obstacle(subject) for name, form in FORMS.items()}
    possible = [name for name, reason in obstacles.items() if reason is None]
    for name in forms:
        if name not in possible:
            hint = f"it can be exported as {', '.join(possible)}"
            raise RequestError(f"{subject.name} cannot be exported as {name}: {obstacles[name]}", hint=hint)
    written: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as made:
        for name in forms or possible:
            files = FORMS[name].files(subject)
            for file, content in files.items():
                (Path(made) / file).write_bytes(content)
            error = difference(subject, FORMS[name].runner(Path(made), subject))
            written.append(
                {"format": name, "files": list(files), "bytes": sum(map(len, files.values())), "error": error}
            )
        _describe(run, subject, described, Path(made))
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(Path(made).iterdir()):
            if path.is_file():
                replace(folder / path.name, path.read_bytes())
    left_out = {} if forms else {name: reason for name, reason in obstacles.items() if reason is not None}
    return {"run": str(run), "checkpoint": checkpoint, "folder": str(folder), "formats": written, "left_out": left_out}


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"`{folder}` cannot be the folder of an export: there is a file of that name")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DESCRIPTION).is_file():
        raise RequestError(f"`{folder}` holds other files and no {DESCRIPTION}", hint="choose a new one with --out")


def _open(run: RunFolder, checkpoint: str) -> tuple[Subject, Any]:
    """The model of a run, and its vocabulary or what its task asks for."""
    if load_recipe(str(run.recipe)).recipe.data.task is None:
        text = load_run(run.path, checkpoint)
        return Subject.of(text.model, str(run)), text.vocabulary
    task = load_task(run.path, checkpoint)
    return Subject.of(task.model, str(run)), task.form


def _describe(run: RunFolder, subject: Subject, described: Any, folder: Path) -> None:
    """Write what a program needs to know of the model, and its vocabulary or task."""
    described.save(folder)
    inputs: dict[str, Any] = {"name": "inputs", "shape": ["time", "batch"], "dtype": "int64"}
    if subject.reads_tokens:
        start = getattr(described, "start", None)
        inputs |= {"lowest": START, "highest": subject.highest, "start": START if start is None else start}
    else:
        inputs |= {"shape": ["time", "batch", subject.model.embedding.output_size], "dtype": "float32"}
    values = {
        "lsseq": lsseq.__version__,
        "run": run.path.name,
        "inputs": inputs,
        "output": {"name": "logits", "shape": ["time", "batch", subject.outputs], "dtype": "float32"},
        "state": [_state(number, tensor) for number, tensor in enumerate(subject.initial.values())],
    }
    (folder / DESCRIPTION).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def _state(number: int, tensor: Tensor) -> dict[str, Any]:
    """One tensor of the state; its initial value is a number where all are equal, else a list over the last axis, for
    each index of the first where there are three."""
    shape: list[Any] = [*tensor.shape]
    shape[-2] = "batch"
    same = bool((tensor == tensor.flatten()[0]).all())
    initial = float(tensor.flatten()[0]) if same else tensor.squeeze(-2).tolist()
    return {"name": f"state_{number}", "shape": shape, "initial": initial}
