"""A run folder: its files, how it is found by name, and the lock that keeps a second training out of it."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lsseq.errors import RequestError, nearest
from lsseq.runs.files import remove, replace, sync, unfinished

RUNS = Path("runs")
"""Where runs lie that are given by name: in the working folder."""
BEFORE_THE_RECIPE = {"environment.json", "vocabulary.json", "sentencepiece.model", "task.json", "checkpoints"}
"""What a new run consists of before its recipe makes it one."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run. `open` finds one that exists, `claim` makes or takes one to train in."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The fully resolved recipe; its presence is what makes a folder a run."""
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def nonfinite(self) -> Path:
        """The last step whose loss or gradient was not finite, as a checkpoint."""
        return self.path / "nonfinite"

    def checkpoint(self, name: str) -> Path:
        """The folder of the checkpoint `best` or `last`."""
        return self.path / "checkpoints" / name

    @classmethod
    def open(cls, run: str | os.PathLike[str]) -> RunFolder:
        """The run that a path, or a name under `runs/`, stands for.

        Raises:
            RequestError: there is none; the message names the runs that exist.
        """
        return cls(resolve(run))

    @classmethod
    @contextmanager
    def claim(cls, path: Path, *, resume: bool) -> Iterator[RunFolder]:
        """Make the folder, or take it over to resume, and keep every other training out until the block ends.

        A folder to which nothing was written meanwhile is removed again, so that a request that fails leaves no trace.
        What is left of a run that was killed before it was one is removed, too.

        Raises:
            RequestError: a run lies there already and `resume` is not set, or files that are no run, or another process
                trains there.
        """
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        claimed_before = _lock_file(path).exists()
        with locked(_lock_file(path), f"the run folder {path}"):
            run = cls(path)
            remove(unfinished(path))
            if claimed_before and not run.recipe.is_file():
                _remove_beginning(path)
            if _contents(path) and not run.recipe.is_file():
                remove([_lock_file(path)])
                raise RequestError(
                    f"`{path}` is not a run folder: it holds other files and no recipe.yaml",
                    hint=f"choose another: --run {shlex.quote(str(_free_name(path)))}",
                )
            if _contents(path) and not resume:
                raise RequestError(
                    f"the run folder {path} exists already",
                    hint=f"`lsseq train --run {shlex.quote(str(path))} --resume` goes on with it; or choose another: "
                    f"--run {shlex.quote(str(_free_name(path)))}",
                )
            try:
                yield run
            finally:
                if not _contents(path):
                    remove([_lock_file(path)])
                    with suppress(OSError):  # It is not empty any more, or somebody else has removed it.
                        for folder in made:
                            folder.rmdir()

    def in_use(self) -> bool:
        """Whether a process of this machine trains in the folder."""
        try:
            with _lock_file(self.path).open("r+", encoding="ascii") as file:
                # A training that is just beginning may want the lock: it is tried only where its last owner is alive.
                return _alive(int(file.read())) and not _lock(file)
        except (OSError, ValueError):
            return False

    def write_recipe(self, text: str) -> None:
        """Write the recipe of a new run last, since it makes the folder a run."""
        for path in self.path.iterdir():
            if path.is_file():
                sync(path)
        replace(self.recipe, text.encode())

    def write_environment(self, values: Mapping[str, Any]) -> None:
        replace(self.environment, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())

    def __str__(self) -> str:
        return str(self.path)


def resolve(run: str | os.PathLike[str]) -> Path:
    """The folder of a run given as a path or as its name under `runs/`.

    Raises:
        RequestError: there is no such run, or the folder is not one.
    """
    given = Path(run)
    for path in (given, RUNS / given):
        if (path / "recipe.yaml").is_file():
            return path
    existing = run_names()
    hint = "runs here: " + ", ".join(existing) if existing else "there are no runs under runs/; `lsseq train` makes one"
    for path in (given, RUNS / given):
        if path.exists():
            what = "it holds no recipe.yaml" if path.is_dir() else "it is a file"
            raise RequestError(f"`{path}` is not a run folder: {what}", hint=hint)
    raise RequestError(f"there is no run `{run}`", suggestion=nearest(str(run), existing), hint=hint)


def run_names() -> list[str]:
    """The runs that lie under `runs/`, in order of their names."""
    return sorted(str(file.parent.relative_to(RUNS)) for file in RUNS.glob("*/recipe.yaml"))


def _lock_file(path: Path) -> Path:
    return path / ".lock"


def _contents(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry != _lock_file(path)]


def _remove_beginning(path: Path) -> None:
    """Empty a folder in which a new run was killed before it had a recipe; anything else is left as it is."""
    contents = _contents(path)
    if {entry.name for entry in contents} <= BEFORE_THE_RECIPE:
        remove(entry for entry in contents if not entry.is_dir())
        shutil.rmtree(path / "checkpoints", ignore_errors=True)


def _free_name(path: Path) -> Path:
    if path.name in ("", ".."):  # Of `.`, `..` and the root, which have no name of their own.
        path /= "run"
    return next(free for n in range(2, 10_000) if not (free := path.with_name(f"{path.name}-{n}")).exists())


@contextmanager
def locked(lock: Path, what: str) -> Iterator[None]:
    """Hold the system's lock on a file; it is gone when the process ends, however it ends.

    Args:
        lock: the file.
        what: it keeps other processes out of, for the error.

    Raises:
        RequestError: another process holds it.
    """
    with _open_lock(lock, what) as file:
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def _open_lock(lock: Path, what: str) -> IO[str]:
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = lock.open("a+", encoding="ascii")
        except (FileExistsError, NotADirectoryError) as error:
            raise RequestError(f"`{lock.parent}` cannot be a run folder: there is a file of that name") from error
        except FileNotFoundError:
            continue  # Another process has removed the folder, in which it had nothing to do.
        if not _lock(file):
            file.seek(0)
            owner = file.read().strip()
            file.close()
            raise RequestError(
                f"{what} is in use" + (f" by process {owner}" if owner else ""),
                hint="wait until that training ends, or choose another folder with --run",
            )
        # Another process may have removed the file between our opening and our locking it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        file.close()


def _alive(process: int) -> bool:
    if os.name == "nt":  # Windows has no question that does not end the process.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lock(file: IO[str]) -> bool:
    """Whether the lock was free. A file system without locks lets everybody in."""
    try:
        if os.name == "nt":
            import msvcrt

            # A byte far behind the text, since Windows locks are on ranges and keep others from reading them.
            file.seek(1 << 20)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True
