"""The folder of a sweep.

runs/NAME-sweep/
  sweep.json     spaces, number of trials, engine, seed
  base.yaml      the recipe, fully resolved
  study.db       Optuna's study, or ray/, Ray Tune's
  trials/        run folders 0, 1, 2, …, and what each said: 0.log, …
  best.yaml      the recipe of the best trial so far
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lsseq.errors import RequestError, RunError
from lsseq.json_text import parse_json
from lsseq.recipe import dump_recipe
from lsseq.recipe.schema import Recipe
from lsseq.runs import RunFolder, files
from lsseq.runs.folder import RUNS
from lsseq.sweep.space import Space, parse
from lsseq.sweep.trial import figures

Engine = Literal["optuna", "ray"]


class Settings(BaseModel):
    """What is searched, and how."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    spaces: dict[str, str]
    """The space of each key as it was written."""
    trials: int
    engine: Engine
    seed: int

    def parsed(self) -> dict[str, Space]:
        return {key: parse(key, text) for key, text in self.spaces.items()}


@dataclass(frozen=True)
class Result:
    """A trial of a sweep."""

    number: int
    state: Literal["complete", "pruned", "failed", "running"]
    values: dict[str, Any]
    """Of the keys."""
    error: str | None = None


@dataclass(frozen=True)
class SweepFolder:
    """The paths of a sweep."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """The sweep that a path, or a name under `runs/`, stands for."""
        named = cls(RUNS / path)
        return named if not path.exists() and named.settings_file.is_file() else cls(path)

    @property
    def settings_file(self) -> Path:
        """Its presence is what makes a folder a sweep."""
        return self.path / "sweep.json"

    @property
    def base(self) -> Path:
        return self.path / "base.yaml"

    @property
    def best(self) -> Path:
        return self.path / "best.yaml"

    def run(self, number: int) -> Path:
        """The run folder of a trial."""
        return self.path / "trials" / str(number)

    def begin(self, recipe: Recipe, settings: Settings) -> None:
        """Make the folder.

        Raises:
            RequestError: there is something already.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RequestError(
                f"`{self.path}` exists already",
                hint="--resume goes on with a sweep; or choose another folder with --run",
            )
        self.path.mkdir(parents=True, exist_ok=True)
        files.replace(self.base, dump_recipe(recipe).encode())
        self.write(settings)

    def write(self, settings: Settings) -> None:
        files.replace(self.settings_file, settings.model_dump_json(indent=2).encode() + b"\n")

    def settings(self) -> Settings:
        """Those that the sweep was begun with.

        Raises:
            RequestError: the folder is no sweep.
            RunError: the file is damaged.
        """
        try:
            return Settings.model_validate(parse_json(self.settings_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            raise RequestError(
                f"there is no sweep to resume in `{self.path}`", hint="without --resume a new one starts"
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise RunError(f"{self.settings_file} is damaged: {what}") from error
        except ValueError as error:
            raise RunError(f"{self.settings_file} is damaged: {error}") from error

    def value(self, number: int) -> tuple[int, float] | None:
        """Step and figure of a trial's best validation; None before the first."""
        return min(figures(self.run(number)), key=lambda found: (found[1], found[0]), default=None)

    def line(self, result: Result) -> str:
        """A trial in words."""
        values = " ".join(f"{key}={_short(value)}" for key, value in result.values.items())
        measured = self.value(result.number)
        figure = "" if measured is None else f" {measured[1]:.4f} (step {measured[0]})"
        error = "" if result.error is None else f": {result.error.splitlines()[0]}"
        return f"trial {result.number}: {result.state}{figure}; {values}{error}"

    def tell(self, result: Result) -> None:
        """The same to the person at the terminal."""
        print(self.line(result), file=sys.stderr)

    def write_best(self, results: list[Result]) -> Result | None:
        """The trial with the best figure, whose recipe is written; None where no trial has one."""
        measured = {one.number: value for one in results if (value := self.value(one.number)) is not None}
        best = min(
            (one for one in results if one.number in measured and one.state in ("complete", "pruned")),
            key=lambda one: (measured[one.number][1], one.number),
            default=None,
        )
        if best is not None:
            files.replace(self.best, RunFolder(self.run(best.number)).recipe.read_bytes())
        return best


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
