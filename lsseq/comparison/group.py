"""Runs that differ in their seeds only, taken together, and those whose figures compare."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

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


class Section(NamedTuple):
    """What figures are of; those of other texts, or in other units, do not compare."""

    corpus: str | None
    metric: str | None

    def __str__(self) -> str:
        return ": ".join([self.corpus or "no recipe", *([self.metric] if self.metric else [])])


def alike(rows: Sequence[Row]) -> list[Row]:
    """Models of bytes, which show bits a byte, show bits a character beside those of other units of the same corpus."""
    characters = {row.corpus for row in rows if row.metric == "bpc"}
    return [replace(row, shown="bpc") if row.metric == "bpb" and row.corpus in characters else row for row in rows]


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


def sections(groups: Sequence[Group]) -> dict[Section, list[Group]]:
    """Those whose figures compare, by corpus and figure, both in the order in which they first occur; in each the best
    on valid first, and last those that have no figure yet."""
    found: dict[Section, list[Group]] = {}
    corpora = list(dict.fromkeys(group.first.corpus for group in groups))
    for group in sorted(groups, key=lambda group: group.first.metric is None):
        corpus, metric = group.first.corpus, group.first.metric
        if metric is None:
            metric = next((other for name, other in found if name == corpus), None)
        found.setdefault(Section(corpus, metric), []).append(group)
    ordered = sorted(found, key=lambda section: corpora.index(section.corpus))
    return {section: sorted(found[section], key=_rank) for section in ordered}


def ranked(groups: Sequence[Group]) -> list[Group]:
    """Section by section."""
    return [group for inside in sections(groups).values() for group in inside]


def _rank(group: Group) -> float:
    found = group.spread(Row.best_figure)
    if found is None or math.isnan(found[0]):  # a NaN has no place in an order
        return math.inf
    return -found[0] if group.first.metric == "accuracy" else found[0]


def _key(row: Row) -> str:
    if row.recipe is None or row.status != "finished":
        return f"run {row.run}"
    return row.recipe.model_dump_json(exclude={"name": True, "description": True, "training": {"seed"}})
