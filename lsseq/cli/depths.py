"""`lsseq eval` at other depths than those of training: layers that are repeated, columns of a fractal stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from lsseq.cli.common import cost_line, count
from lsseq.cli.curve import save_curve
from lsseq.errors import RequestError

if TYPE_CHECKING:
    from torch.nn import Module


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """An option's whole numbers from 1 on, separated by commas; () for the word `all`."""
    if value is None or value == "all":
        return None if value is None else ()
    found = [number for number in map(count, value.split(",")) if number is not None]
    if len(found) < value.count(",") + 1:
        raise click.BadParameter(f"{value!r} is not a number from 1 on, nor several with commas", ctx, param)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Depths:
    """The depths that were asked for."""

    steps: tuple[int, ...] | None
    """How often layers that are repeated are run."""
    columns: tuple[int, ...] | None
    """Which columns are run; () for all, each by itself."""

    def __post_init__(self) -> None:
        if self.steps == ():
            raise RequestError("--steps all: there is no largest number of steps", hint="such as --steps 1,2,4,8")
        if len(self._lists()) > 1:
            raise RequestError("one of --steps and --column takes several numbers, not both")

    def _lists(self) -> list[str]:
        found = {"--steps": self.steps, "--column": self.columns}
        return [option for option, numbers in found.items() if numbers is not None and len(numbers) != 1]

    @property
    def several(self) -> str | None:
        """The option that has several numbers."""
        return next(iter(self._lists()), None)

    @contextmanager
    def at_one(self, model: Module) -> Iterator[dict[str, int]]:
        """The model at the depth that is asked for by one number, and that number by the key of `--json`.

        Raises:
            RequestError: the model has no such depth.
        """
        steps, columns = ((n if n is not None and len(n) == 1 else None) for n in (self.steps, self.columns))
        with _at(model, steps and steps[0], columns and columns[0]) as told:
            yield told

    def measured(self, model: Module, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `measure` returns of a model at the depth of one number, with `steps` or `column`.

        Of several numbers what it returns of the model as it was trained, and a list `anytime` with the same of each.

        Raises:
            RequestError: the model has no such depth.
        """
        from lsseq.evaluation.figures import FIGURES
        from lsseq.nn.stacks.columns import column_count

        with self.at_one(model) as told:
            values = {**measure(), **told}
            if self.several is None:
                return values
            if self.several == "--steps":
                depths: list[tuple[int | None, int | None]] = [(steps, None) for steps in self.steps or ()]
            else:
                depths = [(None, column) for column in self.columns or range(1, max(1, column_count(model)) + 1)]
            kept = (*FIGURES, "parameters", "state_size", "flops_per_token", "seconds")
            rows = []
            for depth in depths:
                with _at(model, *depth) as own:
                    figures = measure()
                rows.append({**own, **{name: figures[name] for name in kept if name in figures}})
        return {**values, "anytime": rows}


@contextmanager
def _at(model: Module, steps: int | None, column: int | None) -> Iterator[dict[str, int]]:
    from lsseq.nn import only_column, set_steps

    with ExitStack() as stack:
        told = {}
        if column is not None:
            if getattr(model, "initial_state", None) is not None:
                raise RequestError(f"--column {column}: the initial state was learned for all columns together")
            try:
                stack.enter_context(only_column(model, column))
            except ValueError as error:
                raise RequestError(f"--column {column}: {error}") from error
            told["column"] = column
        if steps is not None:
            try:
                set_steps(model, steps)
            except ValueError as error:
                raise RequestError(f"--steps {steps}: {error}") from error
            for part in model.modules():
                if hasattr(part, "random_steps"):
                    cast(Any, part).random_steps = None  # a draw of the noise does not draw a number that is given
            told["steps"] = steps
        yield told


def print_anytime(rows: Sequence[dict[str, Any]]) -> None:
    """The figures of each depth, a line each."""
    for row in rows:
        depth, number = next((key, row[key]) for key in ("column", "steps") if key in row)
        name = f"column {number}" if depth == "column" else f"{number} step{'s' if number > 1 else ''}"
        figures = [f"{key} {row[key]:<10.6g}" for key in ("nll", "bpc", "bpb", "accuracy", "mse") if key in row]
        click.echo(f"{name:<12}{''.join(figures)}({cost_line(row)}; {row['seconds']:.1f} s)")


def save_anytime(path: Path, values: dict[str, Any]) -> None:
    """Write the curve over depths as a PNG file.

    Raises:
        RequestError: matplotlib is not installed.
    """
    rows, error = values["anytime"], "nll" if "nll" in values else "mse"
    depth = "steps" if "steps" in rows[0] else "column"
    points = {row[depth]: row[error] for row in rows}
    unit = "mean squared error" if error == "mse" else "nats per token"
    save_curve(path, points, {"as trained": values[error]}, x=depth, y=unit)
