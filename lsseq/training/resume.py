"""Which changes of a recipe a run bears that goes on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from lsseq.errors import Problem, RequestError
from lsseq.recipe import Loaded
from lsseq.recipe.schema import Recipe

CHANGEABLE = (
    "name", "description", "published", "expected", "data.text",
    "training.epochs", "training.steps", "training.minutes", "training.early_stopping",
    "training.log_every", "training.evaluate_every", "training.checkpoint_every",
    "training.threads", "training.device", "training.nonfinite",
    "evaluation.streams", "evaluation.dynamic", "evaluation.cache",
)  # fmt: skip
"""Keys that may differ: when the run ends, reports and saves, where it computes, what is done about a step that it
cannot make, and what is no part of training. The text may lie elsewhere; that it is the same is seen from its tokens.

Another device or number of threads adds up in another order, so there the run goes on, but not to the bit.
"""


def refuse_changes(loaded: Loaded, before: Recipe, run: str) -> None:
    """Refuse a recipe by which the run would not be the same training.

    Raises:
        RequestError: with every key that differs, both its values, and its place where the request sets it.
    """
    problems = [
        Problem(f"`{key}` is {_said(new)} here and {_said(old)} in the run {run}", place)
        for key, old, new in _differences(before.model_dump(), loaded.recipe.model_dump())
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in CHANGEABLE)
        for place in (loaded.place(key),)
    ]
    if problems:
        raise RequestError.of(
            problems,
            hint="a run goes on only as the same training; a new run starts from its weights with: "
            f"--from {shlex.quote(run)}",
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted keys whose values differ, with both values."""
    for name in {**old, **new}:
        key, before, after = f"{prefix}{name}", old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{key}.")
        elif before != after:
            yield key, before, after


def _said(value: Any) -> str:
    return "not set" if value is None else str(value)
