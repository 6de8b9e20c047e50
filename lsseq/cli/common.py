"""What the verbs share: groups of verbs, the `--json` option and the ways to print."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from lsseq.errors import RequestError, nearest

DRAWS = click.IntRange(1, 10_000)
"""How many draws of a model's noise can be asked for."""
_COUNT = re.compile("0*[1-9][0-9]{0,8}")
Function = TypeVar("Function", bound=Callable[..., Any])


class VerbGroup(click.Group):
    """A group that answers a missing or unknown verb with the verbs there are."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            raise RequestError(f"`{ctx.command_path}` needs a verb", hint=self._verbs(ctx))
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        verb, known = args[0], self.list_commands(ctx)
        if not verb.startswith("-") and verb not in known:
            raise RequestError(f"unknown verb `{verb}`", suggestion=nearest(verb, known), hint=self._verbs(ctx))
        return super().resolve_command(ctx, args)

    def _verbs(self, ctx: click.Context) -> str:
        return "the verbs are " + ", ".join(self.list_commands(ctx))


def json_option(function: Function) -> Function:
    """`--json`: one JSON object on standard output and nothing else there."""
    return click.option("as_json", "--json", is_flag=True, help="Print one JSON object.")(function)


def is_assignment(argument: str) -> bool:
    """Whether an argument is KEY=VALUE, and not a file or a run of such a name."""
    from lsseq.runs.folder import RUNS

    return "=" in argument and not Path(argument).exists() and not (RUNS / argument).exists()


def count(text: str) -> int | None:
    """A whole number from 1 to below 10^9; None where the text is none."""
    return int(text) if _COUNT.fullmatch(text.strip()) else None


def say(message: str) -> None:
    """A message for the person at the terminal: standard error."""
    click.echo(message, err=True)


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on standard output, in ASCII, so that it is whole whatever the encoding there; what is not finite
    is null, as the JSON standard knows no NaN."""
    click.echo(json.dumps(_finite(values)))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value


def cost_line(values: Mapping[str, Any]) -> str:
    """What a model costs, in one line."""
    parts = [f"{values['parameters']:,} parameters", f"state of {values['state_size']:,} numbers"]
    if "flops_per_token" in values:
        measured = values.get("flops_per_token_measured")
        less = "" if measured is None else f" ({measured:,} on this text)"
        parts.append(f"{values['flops_per_token']:,} FLOPs a token{less}")
    return "; ".join(parts)
