"""Teachers are trained once and kept, with what they say of the training text.

They lie under `$LSSEQ_DATA/teachers`, in a folder named by a sum over the text, their settings and the seed, as a
checkpoint. All of it is a function of these, so what is lost is made again.

Shape letters: N tokens, D detectors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsseq.data import TextData
from lsseq.data.batches import Marks
from lsseq.data.files import whole_folder
from lsseq.errors import RunError
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Recipe
from lsseq.resources import data_folder
from lsseq.runs import read_checkpoint, write_checkpoint
from lsseq.training.teachers.lexicon import Lexicon
from lsseq.training.teachers.school import Level, Plan, School, train_school
from lsseq.training.teachers.teacher import Teacher, new_model
from lsseq.training.teachers.units import Units

VERSION = 1
"""Of what is kept: another version trains anew."""
TARGETS = {"two-way-surprise": False, "two-way-line-ends": True}
"""The targets that need teachers, and whether these watch the ends of lines."""


def has_teachers(recipe: Recipe) -> bool:
    """Whether the detectors of a recipe are taught by teachers."""
    return recipe.model.boundary.target in TARGETS


def training_marks(recipe: Recipe, data: TextData, device: torch.device) -> Marks | None:
    """(N, D): what the detectors of a recipe are taught about each token of the training text; None where nothing.

    Raises:
        KeyFault: teachers are to watch the ends of lines, and the text has none.
    """
    if not has_teachers(recipe):
        return None
    plan, tokens = _plan(recipe, data, device), data.splits["train"].tokens
    folder = _folder(recipe, data)
    try:
        tensors, _ = read_checkpoint(folder, ["marks"])
        marks = tensors["marks"]["marks"].numpy().astype(np.bool_)
    except RunError:
        marks = _make(folder, plan, tokens)[1]
    return late(marks, recipe.model.boundary.delay)


def school_of(recipe: Recipe, data: TextData, device: torch.device) -> School:
    """The teachers of a recipe that has some, trained again where they are not at hand."""
    plan, folder = _plan(recipe, data, device), _folder(recipe, data)
    try:
        tensors, values = read_checkpoint(folder, ["teachers"], str(device))
    except RunError:
        return _make(folder, plan, data.splits["train"].tokens)[0]
    return _read(plan, tensors["teachers"], values)


def late(marks: Marks, delay: int) -> Marks:
    """The marks, so many tokens later."""
    moved = np.zeros_like(marks)
    moved[delay:] = marks[: len(marks) - delay]
    return moved


def _plan(recipe: Recipe, data: TextData, device: torch.device) -> Plan:
    boundary, model = recipe.model.boundary, recipe.model
    end, watches = data.vocabulary.start, TARGETS[boundary.target]
    if watches and end is None:
        raise KeyFault("model.boundary.target", f"`{boundary.target}` needs a text with lines, and this one has none")
    return Plan(
        size=len(data.vocabulary),
        line_end=end,
        settings=boundary.teachers,
        watches_line_ends=watches,
        levels=model.layers - 1,
        seed=recipe.training.seed,
        device=device,
    )


def _folder(recipe: Recipe, data: TextData) -> Path:
    boundary = recipe.model.boundary
    key = {
        "version": VERSION,
        "text": data.fingerprint,
        "target": boundary.target,
        "teachers": boundary.teachers.model_dump(),
        "levels": recipe.model.layers - 1,
        "seed": recipe.training.seed,
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return data_folder() / "teachers" / name


def _make(folder: Path, plan: Plan, tokens: np.ndarray[Any, np.dtype[Any]]) -> tuple[School, Marks]:
    school, marks = train_school(tokens, plan)
    teachers: dict[str, Tensor] = {}
    scales: list[list[list[list[float]]]] = []
    lexicons: list[list[list[Any]] | None] = []
    for number, level in enumerate(school.levels):
        if level.units is not None:
            teachers[f"{number}.units"] = torch.from_numpy(level.units.names.view(np.int64))
        for member, teacher in enumerate(level.teachers):
            weights = teacher.model.state_dict()
            teachers |= {f"{number}.{member}.{name}": weight for name, weight in weights.items()}
        scales.append([teacher.scales for teacher in level.teachers])
        lexicons.append(None if level.lexicon is None else _spelled(level.lexicon))
    groups = {"teachers": teachers, "marks": {"marks": torch.from_numpy(marks.astype(np.uint8))}}
    with whole_folder(folder, replace=folder.exists()) as unfinished:
        write_checkpoint(unfinished, groups, {"scales": scales, "lexicons": lexicons})
    return school, marks


def _read(plan: Plan, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> School:
    levels = []
    for number, scales in enumerate(values["scales"]):
        names = tensors.get(f"{number}.units")
        units = None if names is None else Units(names.cpu().numpy().view(np.uint64))
        teachers = []
        for member, view in enumerate(plan.views(units)):
            prefix = f"{number}.{member}."
            weights = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            with torch.random.fork_rng([]):
                model = new_model(plan.size_of(units), plan.settings).to(plan.device)
            model.load_state_dict(weights)
            teachers.append(Teacher(model.eval(), view, scales[member]))
        spelled = values["lexicons"][number]
        lexicon = None if spelled is None else Lexicon({"".join(map(chr, unit)): count for unit, count in spelled})
        levels.append(Level(teachers, units, plan.end_of(units), plan.watches_line_ends, lexicon))
    return School(plan, levels)


def _spelled(lexicon: Lexicon) -> list[list[Any]]:
    """Units by the numbers of their tokens, and how often they occur."""
    return [[[ord(letter) for letter in unit], count] for unit, count in lexicon.counts.items()]
