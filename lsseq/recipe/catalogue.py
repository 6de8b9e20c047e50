"""The recipes that come with lsseq. A name is the path below the recipes folder without .yaml: `ptb-char/lstm`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lsseq.errors import RequestError, nearest
from lsseq.recipe.document import read_document
from lsseq.resources import recipes_folder


@dataclass(frozen=True)
class Entry:
    """A recipe of the catalogue."""

    name: str
    path: Path
    description: str | None

    @property
    def is_base(self) -> bool:
        """Whether it is there to be extended: `base.yaml`, and every file whose name begins with an underscore."""
        return is_base(self.name)


def is_base(name: str) -> bool:
    """Whether a name of the catalogue is a base's."""
    stem = name.rpartition("/")[2]
    return stem == "base" or stem.startswith("_")


def names() -> list[str]:
    """All names, bases too, sorted."""
    folder = recipes_folder()
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))


def entries() -> list[Entry]:
    """All recipes with their descriptions; nothing is validated."""
    return [_entry(name) for name in names()]


def path_of(name: str) -> Path | None:
    """The file of a name of the catalogue."""
    folder = recipes_folder().resolve()
    path = Path(os.path.normpath(folder / f"{name.removesuffix('.yaml')}.yaml"))
    return path if is_file(path) and path.is_relative_to(folder) else None


def find(name_or_path: str) -> Path:
    """The file that a user means: a file, a name of the catalogue, a file without its .yaml, or a run folder.

    Raises: RequestError with the nearest names.
    """
    path = Path(name_or_path)
    if is_file(path):
        return path.resolve()
    if (known := path_of(name_or_path)) is not None:
        return known
    for candidate in (path.with_name(f"{path.name}.yaml") if path.name else path, path / "recipe.yaml"):
        if is_file(candidate):
            return candidate.resolve()
    raise RequestError(
        f"there is no recipe `{name_or_path[:200]}`",
        suggestion=nearest(name_or_path[:200], [*names(), *_files_beside(path)]),
        hint="`lsseq recipes list` shows the names; a recipe file or a run folder does as well",
    )


def name_of(path: Path) -> str | None:
    """The name of a resolved file of the catalogue."""
    folder = recipes_folder().resolve()
    return path.relative_to(folder).with_suffix("").as_posix() if path.is_relative_to(folder) else None


def run_name(path: Path) -> str:
    """The name of a run of a recipe file: its name in the catalogue with `-` for `/`, else that of the file."""
    name = name_of(path)
    return path.stem if name is None else name.replace("/", "-")


def full_scale(run: str | None) -> str | None:
    """The recipe of a paper with the method of a budget recipe: of the run name of `CORPUS/budget-MODEL`, or
    `CORPUS/budget-deep-MODEL`, that is `CORPUS/MODEL`, where the catalogue has it."""
    name = next((name for name in names() if name.replace("/", "-") == run), "")
    corpus, budget, model = name.partition("/budget-")
    candidates = (f"{corpus}/{model}", f"{corpus}/{model.removeprefix('deep-')}") if budget else ()
    return next((one for one in candidates if path_of(one) is not None), None)


def _entry(name: str) -> Entry:
    path = recipes_folder() / f"{name}.yaml"
    described = read_document(path).child("description")
    return Entry(name, path, None if described is None else str(described.value))


def _files_beside(path: Path) -> list[str]:
    try:
        return [file.as_posix() for file in path.parent.glob("*.yaml")]
    except (OSError, ValueError):
        return []


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
