"""The recipes that come with lsseq. A name is the path below the recipes folder without .yaml: `ptb-char/lstm`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lsseq.errors import Place, RequestError, nearest
from lsseq.recipe.document import read_document, shown_path
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
    return path if path.is_file() and path.is_relative_to(folder) else None


def find(name_or_path: str) -> Path:
    """The file that a user means: a file, a name of the catalogue, a file without its .yaml, or a run folder.

    Raises: RequestError with the nearest names.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path.resolve()
    if (known := path_of(name_or_path)) is not None:
        return known
    for candidate in (path.with_name(path.name + ".yaml") if path.name else path, path / "recipe.yaml"):
        if candidate.is_file():
            return candidate.resolve()
    here = [file.as_posix() for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    if path.exists():
        raise RequestError(f"`{name_or_path}` is not a recipe file or a run folder", Place(shown_path(path)))
    raise RequestError(
        f"there is no recipe `{name_or_path}`",
        suggestion=nearest(name_or_path, [*names(), *here]),
        hint="`lsseq recipes list` shows the names; a path to a file does as well",
    )


def name_of(path: Path) -> str | None:
    """The name of a resolved file of the catalogue."""
    folder = recipes_folder().resolve()
    return path.relative_to(folder).with_suffix("").as_posix() if path.is_relative_to(folder) else None


def run_name(path: Path) -> str:
    """The name of a run of a recipe file: its name in the catalogue with `-` for `/`, else that of the file."""
    name = name_of(path)
    return path.stem if name is None else name.replace("/", "-")


def _entry(name: str) -> Entry:
    path = recipes_folder() / f"{name}.yaml"
    described = read_document(path).child("description")
    return Entry(name, path, None if described is None else str(described.value))
