"""Copies a recipe file so that it loads from its new place."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lsseq.errors import Place, RequestError
from lsseq.recipe import catalogue
from lsseq.recipe.document import shown_path
from lsseq.recipe.load import extended


def copy_recipe(name_or_path: str, destination: Path | None = None, *, force: bool = False) -> Path:
    """Copy a recipe with its comments; `extends` then names the catalogue, or the way to a file outside of it.

    `destination` is a file or a folder, by default the current folder.

    Raises: RequestError for a recipe that is not there or is broken, and for a file in the way unless `force` is set.
    """
    source = catalogue.find(name_or_path)
    target = destination or Path()
    if target.is_dir():
        target /= source.name if source.name != "recipe.yaml" else f"{source.parent.name}.yaml"
    if target.exists() and target.resolve() == source.resolve():
        raise RequestError(f"`{target}` is the recipe itself", Place(shown_path(target)), hint="name another file")
    if target.exists() and not force:
        raise RequestError(f"`{target}` is already there", Place(shown_path(target)), hint="--force replaces it")
    bases = extended(source)  # Which refuses what is no recipe.
    lines = source.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    for place, base in reversed(bases):
        row, start = (place.line or 1) - 1, (place.column or 1) - 1
        name = catalogue.name_of(base) or Path(os.path.relpath(base, target.resolve().parent)).as_posix()
        lines[row] = f"{lines[row][:start]}{name}{lines[row][start + place.width :]}"
    text = "".join(lines)
    if own := catalogue.name_of(source):
        text = re.sub(rf"(?<=lsseq train ){re.escape(own)}(?=\s)", lambda _: str(target), text)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target
