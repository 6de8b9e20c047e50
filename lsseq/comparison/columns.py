"""What is shown of runs, as text: the columns of all tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lsseq.comparison.group import Group
from lsseq.comparison.row import Row
from lsseq.training.progress import duration, number

_BACK_END = re.compile(r"[^:]*: (\w+)")
"""The back end's name in a line such as `LSTM in training: fused (...): ...`."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    text: Callable[[Group], str]
    """Of a cell; empty where nothing is known."""
    number: bool = False
    """It stands at the right."""
    common: bool = False
    """Where it is the same for all runs, it need not stand in the table."""


@dataclass(frozen=True)
class Sheet:
    """A table as text, without columns that say nothing."""

    columns: Sequence[Column]
    cells: Sequence[Sequence[str]]
    """Row by row."""
    common: Sequence[str]
    """What holds for all runs, such as `seed: 1`."""
    problems: Sequence[str]
    """What is damaged, each with its run."""


def sheet(groups: Sequence[Group]) -> Sheet:
    """The table of some runs."""
    texts = {column.title: [column.text(group) for group in groups] for column in COLUMNS}
    same = {column.title for column in COLUMNS if column.common and len(set(texts[column.title])) == 1}
    common = [f"{title}: {cells[0]}" for title, cells in texts.items() if title in same and cells[0]]
    if len(groups) == 1:
        same, common = set(), []
    kept = [column for column in COLUMNS if column.title not in same and any(texts[column.title])]
    cells = [[texts[column.title][index] for column in kept] for index in range(len(groups))]
    problems = [f"{row.run}: {row.problem}" for group in groups for row in group.rows if row.problem is not None]
    return Sheet(kept, cells, common, problems)


def figure(value: float, metric: str) -> str:
    """As many decimals as can be compared: one of perplexities, else three; small errors in four digits."""
    if metric == "mse":
        return f"{value:.4g}"
    return number(value, 1 if metric == "perplexity" else 3)


def published(row: Row) -> str:
    """The figure of the literature that is shown beside the run's."""
    if row.published_by is None:
        return ""
    stated = [one for one in row.published_by.published if one.metric == row.metric]
    stated.sort(key=lambda one: one.split != "test")
    return "" if not stated else f"{stated[0].value:g}" + ("" if stated[0].split == "test" else f" {stated[0].split}")


def back_end(row: Row) -> str:
    """The back ends of the recurrences in training."""
    told = [line for line in row.environment.back_ends if " in evaluation:" not in line]
    return ", ".join(dict.fromkeys(found[1] for line in told if (found := _BACK_END.match(line))))


def machine(row: Row) -> str:
    """What was computed on."""
    name, threads = row.environment.machine or row.environment.device, row.environment.threads
    if not name or not threads or "cpu" not in row.environment.device:
        return name
    return f"{name}, {threads} thread{'s' if threads != 1 else ''}"


def _run(group: Group) -> str:
    more = len(group.rows) - 1
    return f"{group.first.run} and {more} more" if more else str(group.first.run)


def _steps(group: Group) -> str:
    row = group.first
    if row.steps is None:
        return ""
    budget = None if row.recipe is None or row.status == "finished" else row.recipe.training.steps
    return _mean(group, lambda one: one.steps) + (f" of {budget:,}" if budget else "")


def _mean(group: Group, of: Callable[[Row], float | None]) -> str:
    found = group.spread(of)
    return "" if found is None else f"{round(found[0]):,}"


def _time(group: Group) -> str:
    found = group.spread(lambda row: row.seconds)
    return "" if found is None else duration(found[0])


def _valid(group: Group) -> str:
    return _figure(group, Row.best_figure)


def _test(group: Group) -> str:
    text, row = _figure(group, Row.test_figure), group.first
    interval = ((row.test or {}).get("interval") or {}).get(row.metric)
    if not text or len(group.rows) > 1 or interval is None:
        return text
    return f"{text} ({'–'.join(figure(end, str(row.metric)) for end in interval)})"


def _samples(group: Group) -> str:
    text = _figure(group, Row.samples_figure)
    counts = {row.samples["samples"] for row in group.rows if row.samples is not None}
    return f"{text} of {', '.join(map(str, sorted(counts)))}" if text else ""


def _figure(group: Group, of: Callable[[Row], float | None]) -> str:
    found, metric = group.spread(of), group.first.metric
    if found is None or metric is None:
        return ""
    mean, deviation, count = found
    spread = "" if deviation is None else f" ± {figure(deviation, metric)}"
    return f"{figure(mean, metric)}{spread} {metric}" + (f" (n {count})" if len(group.rows) > 1 else "")


def _expected(group: Group) -> str:
    row = group.first
    stated = [] if row.recipe is None else [one for one in row.recipe.expected if one.metric == row.metric]
    stated.sort(key=lambda one: one.split != "test")
    if not stated:
        return ""
    one, met = stated[0], {row.met for row in group.rows} - {None}
    said = "" if not met or one.split != "test" else " met" if met == {True} else " not met"
    split = "" if one.split == "test" else f" {one.split}"
    steps = "" if one.steps in (None, row.steps) else f" at {one.steps:,} steps"
    return f"{one.value:g} ± {one.tolerance:g}{split}{steps}{said}"


def _rates(group: Group) -> str:
    return " ".join(f"{rate:.2f}" for rate in group.first.rates[-1][1]) if group.first.rates else ""


def _seeds(group: Group) -> str:
    return ", ".join(str(row.seed) for row in group.rows if row.seed is not None)


COLUMNS = (
    Column("run", _run),
    Column("recipe", lambda group: group.first.name or "", common=True),
    Column("corpus", lambda group: group.first.corpus or "", common=True),
    Column("status", lambda group: group.first.status, common=True),
    Column("parameters", lambda group: _mean(group, lambda row: row.parameters), number=True),
    Column("valid", _valid, number=True),
    Column("test", _test, number=True),
    Column("one draw", lambda group: _figure(group, Row.draw_figure), number=True),
    Column("mean of draws", _samples, number=True),
    Column("dynamic", lambda group: _figure(group, Row.dynamic_figure), number=True),
    Column("published", lambda group: published(group.first), number=True),
    Column("expected", _expected, number=True),
    Column("steps", _steps, number=True),
    Column("epochs", lambda group: _mean(group, lambda row: row.epochs), number=True),
    Column("training", _time, number=True),
    Column("tokens/s", lambda group: _mean(group, lambda row: row.tokens_per_second), number=True),
    Column("boundary rate", _rates, number=True),
    Column("back end", lambda group: back_end(group.first), common=True),
    Column("machine", lambda group: machine(group.first), common=True),
    Column("seed", _seeds, common=True),
)
