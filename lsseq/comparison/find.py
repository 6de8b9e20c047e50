"""Which run folders are meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lsseq.runs import RunFolder
from lsseq.runs.folder import RUNS, resolve


def find_runs(given: Sequence[str]) -> list[Path]:
    """The folders of runs, each once, in the order in which they are given, those below a folder by name.

    Args:
        given: run folders, or folders with runs in them at any depth, by paths or by names under `runs/`.

    Raises:
        RequestError: one of them is no run and holds none.
    """
    found: dict[Path, Path] = {}
    for one in given:
        runs = list(_runs_below(Path(one))) or list(_runs_below(RUNS / one)) or [resolve(one)]
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs_below(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    if _is_run(folder):
        yield folder
        return
    for inner in sorted(folder.iterdir()):
        # Links may lead in a circle.
        if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
            yield from _runs_below(inner)


def _is_run(path: Path) -> bool:
    """Whether it is a run, be it one that lost its recipe."""
    folder = RunFolder(path)
    return folder.recipe.is_file() or folder.metrics.is_file() or folder.environment.is_file()
