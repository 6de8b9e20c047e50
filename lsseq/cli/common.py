"""What the verbs share: the `--json` option and the ways to print."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """`--json`: one JSON object on standard output and nothing else there."""
    return click.option("as_json", "--json", is_flag=True, help="Print one JSON object.")(function)


def say(message: str) -> None:
    """A message for the person at the terminal: standard error."""
    click.echo(message, err=True)


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on standard output; what is not finite is null, as the JSON standard knows no NaN."""
    click.echo(json.dumps(_finite(values), ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value
