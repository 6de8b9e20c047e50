"""What a run folder tells of its run, however far it went and whatever befell it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from lsseq.comparison.held_out import kept_test
from lsseq.errors import LsseqError
from lsseq.json_text import parse_json
from lsseq.recipe import load_recipe, read_resolved
from lsseq.recipe.catalogue import full_scale
from lsseq.recipe.schema import Recipe
from lsseq.recipe.schema.data import TextSplits
from lsseq.runs import RunFolder, read_metrics, read_saved
from lsseq.runs.checkpoint import MANIFEST
from lsseq.runs.saved import Figure, Saved
from lsseq.training.progress import HEADLINES

Status = Literal["finished", "running", "stopped", "damaged"]
"""finished: the budget was used up; stopped: it was not, and nobody trains; damaged: a file of the run is broken."""
Figures = dict[str, Any]
"""F of the JSON interface, and perhaps `step`."""
Value = TypeVar("Value")
_NOTHING = Saved(step=0, epoch=0)


class Environment(BaseModel):
    """What is shown of environment.json; there is more. What it does not tell is empty or None."""

    model_config = ConfigDict(strict=True)

    parameters: int | None = None
    back_ends: list[str] = []
    machine: str = ""
    device: str = ""
    threads: int | None = None
    torch: str = ""
    command: str = ""


@dataclass(frozen=True)
class Row:
    """One run. What its folder does not tell is None."""

    run: Path
    status: Status
    problem: str | None
    """What is damaged."""
    recipe: Recipe | None
    published_by: Recipe | None
    """The recipe that states the published figures: the run's own; of a budget recipe that states none, the one of the
    paper."""
    environment: Environment
    lines: Sequence[Mapping[str, Any]]
    """Of metrics.jsonl."""
    steps: int | None
    epochs: int | None
    seconds: float | None
    """Of training, evaluations included."""
    tokens_per_second: float | None
    """Without evaluations and saves."""
    best: Figures | None
    """The best evaluation on valid."""
    test: Figures | None
    """The best checkpoint on test, if it was measured, with `interval` (F, each [low, high]) where there is one."""
    samples: Figures | None
    """The mean over draws of its noise on test, if it was measured, as `lsseq eval --samples` has it."""
    dynamic: Figures | None
    """Dynamic evaluation on test, if it was measured."""
    shown: str | None = None
    """The figure that is shown, if it was chosen for the sake of others."""

    @property
    def parameters(self) -> int | None:
        """How many the model has."""
        return self.environment.parameters

    @property
    def metric(self) -> str | None:
        """The figure that is shown: the chosen one, else the first that the recipe states, else the usual one."""
        figures = self.best or self.test or {}
        stated = [one["metric"] for one in (*self.stated("published"), *self.stated("expected"))]
        return next(
            (name for name in (self.shown, *stated, *HEADLINES) if name and figures.get(name) is not None), None
        )

    def stated(self, kind: Literal["published", "expected"]) -> list[dict[str, Any]]:
        """The figures that stand beside the run's."""
        recipe = self.recipe if kind == "expected" else self.published_by
        return [] if recipe is None else [one.model_dump(exclude_none=True) for one in getattr(recipe, kind)]

    def best_figure(self) -> float | None:
        """The best figure on valid that is shown."""
        return _figure(self.best, self.metric)

    def test_figure(self) -> float | None:
        """The figure on test that is shown."""
        return _figure(self.test, self.metric)

    def draw_figure(self) -> float | None:
        """The mean figure on test of one draw."""
        return _figure((self.samples or {}).get("single"), self.metric)

    def samples_figure(self) -> float | None:
        """The figure on test of the draws' mean."""
        return _figure(self.samples, self.metric)

    def dynamic_figure(self) -> float | None:
        """The figure on test with dynamic evaluation."""
        return _figure(self.dynamic, self.metric)

    @property
    def name(self) -> str | None:
        """Of the recipe."""
        return None if self.recipe is None else self.recipe.name

    @property
    def corpus(self) -> str | None:
        """What it was trained on: a corpus by its name, own text by that of its first file; a task by its kind."""
        if self.recipe is None:
            return None
        data = self.recipe.data
        if data.task is not None:
            return data.task.kind
        if data.dataset is not None:
            return f"data set {data.dataset.name}"
        if data.text is None:
            return data.corpus
        text = data.text.train if isinstance(data.text, TextSplits) else data.text
        return f"own text {Path(text if isinstance(text, str) else next(iter(text), '')).name}"

    @property
    def seed(self) -> int | None:
        return None if self.recipe is None else self.recipe.training.seed

    @property
    def rates(self) -> list[tuple[int, list[float]]]:
        """Steps, and the boundary rate of each layer there; empty for a model without detectors."""
        return [(line["step"], line["boundary_rate"]) for line in self.lines if line.get("boundary_rate")]

    @property
    def met(self) -> bool | None:
        """Whether the test split gives what the recipe expects after as many steps; None where one is not known."""
        if self.recipe is None or self.test is None:
            return None
        stated = [one for one in self.recipe.expects("test", self.steps) if one.metric in self.test]
        return all(abs(self.test[one.metric] - one.value) <= one.tolerance for one in stated) if stated else None

    def values(self) -> dict[str, Any]:
        """The keys of `lsseq compare --json`; what is not known is absent."""
        values = {
            "run": str(self.run),
            "recipe": self.name,
            "corpus": self.corpus,
            "status": self.status,
            "problem": self.problem,
            "seed": self.seed,
            "steps": self.steps,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "metric": self.metric,
            "best": self.best,
            "test": self.test,
            "samples": self.samples,
            "dynamic": self.dynamic,
            "boundary_rate": self.rates[-1][1] if self.rates else None,
            "published": self.stated("published"),
            "expected": self.stated("expected"),
            "met": self.met,
            **self.environment.model_dump(),
        }
        return {key: value for key, value in values.items() if value not in (None, "", [])}


def _figure(figures: Figures | None, metric: str | None) -> float | None:
    return None if figures is None or metric is None else figures.get(metric)


def read_row(run: Path) -> Row:
    """Read a run folder. Nothing is written, and what is broken becomes the row's `problem`. Weights are not read, nor
    need they be there."""
    folder = RunFolder(run)
    reader = _Reader()
    recipe = reader.read(folder.recipe, read_resolved)
    if not folder.recipe.is_file():
        reader.problems = ["it holds no recipe.yaml"]
    environment = reader.read(folder.environment, _environment) or Environment()
    lines = reader.read(folder.metrics, _lines) or []
    best = reader.checkpoint(folder, "best")
    last = reader.checkpoint(folder, "last")
    steps, epochs, seconds = _progress(last, lines)
    running = folder.in_use()
    status: Status = "running" if running else "finished" if last.final is not None else "stopped"
    return Row(
        run=run,
        status="damaged" if reader.problems else status,
        problem=reader.problems[0] if reader.problems else None,
        recipe=recipe,
        published_by=_publisher(recipe),
        environment=environment,
        lines=lines,
        steps=steps,
        epochs=epochs,
        seconds=seconds,
        tokens_per_second=_speed(last),
        best=_best([best.best, last.best, *(line for line in lines if line.get("split") == "valid")]),
        test=None if recipe is None else kept_test(folder, recipe),
        samples=None if recipe is None else kept_test(folder, recipe, "samples"),
        dynamic=None if recipe is None else kept_test(folder, recipe, "dynamic"),
    )


class _Reader:
    """Reads the files of a run and keeps what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, path: Path, read: Callable[[Path], Value]) -> Value | None:
        """What `read` makes of a file; None where there is none, or it is broken."""
        if not path.exists():
            return None
        try:
            return read(path)
        except LsseqError as error:
            place = "" if error.place is None else f" ({replace(error.place, source=path.name)})"
            self.problems.append(error.message.replace(f"{path.parent}{os.sep}", "") + place)
        except OSError as error:
            self.problems.append(f"{path.name} cannot be read: {error.strerror}")
        except ValueError:
            self.problems.append(f"{path.name} is damaged")
        return None

    def checkpoint(self, folder: RunFolder, name: str) -> Saved:
        """What a checkpoint says; that of the first step where it was not saved, or is broken."""
        manifest = folder.checkpoint(name) / MANIFEST
        return self.read(manifest, lambda manifest: read_saved(manifest.parent)) or _NOTHING


def _environment(path: Path) -> Environment:
    return Environment.model_validate(parse_json(path.read_text(encoding="utf-8")))


def _publisher(recipe: Recipe | None) -> Recipe | None:
    if recipe is None or recipe.published or (name := full_scale(recipe.name)) is None:
        return recipe
    return load_recipe(name).recipe


class _Line(BaseModel):
    """What every line has; whatever else there is are figures, or `null` where they were not finite."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, Figure | list[Figure]]

    step: int
    epoch: int
    split: str
    seconds: Figure = None
    boundary_rate: list[float] | None = None


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = read_metrics(path)
    for line in lines:
        _Line.model_validate(line)
        if any(isinstance(line.get(name), list) for name in HEADLINES):
            raise ValueError
    if len({len(line["boundary_rate"]) for line in lines if line.get("boundary_rate")}) > 1:
        raise ValueError
    return lines


def _progress(last: Saved, lines: Sequence[Mapping[str, Any]]) -> tuple[Any, Any, Any]:
    """Steps, epochs and seconds, from the newest checkpoint or what was logged after it."""
    line = lines[-1] if lines else {}
    if last is _NOTHING or line.get("step", -1) > last.step:
        return line.get("step"), line.get("epoch"), line.get("seconds")
    return last.step, last.epoch, last.loop.clock and last.loop.clock.total


def _speed(last: Saved) -> float | None:
    clock = last.loop.clock
    return last.tokens / max(clock.total - clock.aside, 1e-9) if clock is not None and last.tokens else None


def _best(evaluations: Sequence[Mapping[str, Any] | None]) -> Figures | None:
    """The evaluation with the lowest loss."""
    found = [
        {name: value for name, value in one.items() if name == "step" or name in HEADLINES}
        for one in evaluations
        if one is not None and _loss(one) is not None
    ]
    return min(found, key=_loss, default=None)  # type: ignore[arg-type]


def _loss(figures: Mapping[str, Any]) -> float | None:
    value = figures.get("nll", figures.get("mse"))
    return float(value) if isinstance(value, (int, float)) else None
