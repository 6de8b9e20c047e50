"""Runs that differ in their seeds only, taken together."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lsseq.comparison.row import Row


@dataclass(frozen=True)
class Group:
    """Some runs of one recipe, at least one."""

    rows: Sequence[Row]

    @property
    def first(self) -> Row:
        return self.rows[0]

    def spread(self, of: Callable[[Row], float | None]) -> tuple[float, float | None, int] | None:
        """Mean, standard deviation (n - 1 in the denominator; None for one run) and n, over the runs that have it."""
        values = [value for row in self.rows if (value := of(row)) is not None]
        if not values:
            return None
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values)

    def values(self) -> dict[str, Any]:
        """The keys of `groups` in `lsseq compare --json`."""
        values: dict[str, Any] = {
            "recipe": self.first.name,
            "runs": [str(row.run) for row in self.rows],
            "seeds": [row.seed for row in self.rows],
        }
        metric = self.first.metric
        for key, figures in (("best", Row.best_figure), ("test", Row.test_figure)):
            if metric is not None and (found := self.spread(figures)) is not None:
                values[key] = {metric: dict(zip(("mean", "sd", "n"), found, strict=True))}
        return values


def single(rows: Sequence[Row]) -> list[Group]:
    """Every run for itself."""
    return [Group([row]) for row in rows]


def grouped(rows: Sequence[Row]) -> list[Group]:
    """Finished runs whose recipes are equal but for name, description and seed together, where the first of them stood;
    the others for themselves."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_key(row), []).append(row)
    return [Group(together) for together in groups.values()]


def _key(row: Row) -> str:
    if row.recipe is None or row.status != "finished":
        return f"run {row.run}"
    return row.recipe.model_dump_json(exclude={"name": True, "description": True, "training": {"seed"}})
