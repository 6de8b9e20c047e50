"""`KEY=VALUE` of the command line as one layer of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lsseq.errors import Place, RequestError
from lsseq.recipe.document import Node, Text, parse
from lsseq.recipe.keys import keys_of, nearest_key, type_at
from lsseq.recipe.merge import explicit, merge

COMMAND_LINE = "command line"
QUOTES = "a value with signs of YAML stands in quotes of its own: 'data.text=\"my #1.txt\"'"


def read_overrides(overrides: Sequence[str]) -> tuple[Node, list[RequestError]]:
    """The layer, and what is wrong with those overrides that are not in it.

    A value is YAML, such as `1e-3`, `[3, 4]` or `{cell: 0.5}`; nothing after the sign is null. The order counts only
    where one key is given twice: the last holds.
    """
    layer = Node({}, Place(COMMAND_LINE))
    faults: list[RequestError] = []
    for override in overrides:
        try:
            layer = merge(layer, explicit(_tree(override)))
        except RequestError as fault:
            faults.append(fault)
    return layer, faults


def _comment(override: str, value: Node | None, start: int) -> int | None:
    """Where a comment stands behind a value that begins at `start`."""
    end = start if value is None else (value.place.column or 1) - 1 + value.place.width
    rest = override[end:].lstrip()
    return len(override) - len(rest) if rest.startswith("#") else None


def _tree(override: str) -> Node:
    key, sign, _ = override.partition("=")
    path = key.strip().split(".")
    text = Text(override, COMMAND_LINE, numbered=False)
    place = text.place(0, max(1, len(key)))
    if not sign:
        raise RequestError(f"`{override}` is not KEY=VALUE", place, "such as `training.lr=1e-3`")
    if "extends" in path[:1]:
        raise RequestError("`extends` stands in a file, not on the command line", place)
    if type_at(path) is None:
        raise RequestError(f"unknown key `{key.strip()}`", place, nearest_key(key.strip()), keys_of(path))
    value = parse(text := Text(override, COMMAND_LINE, numbered=False, offset=len(key) + 1))
    if (comment := _comment(override, value, len(key) + 1)) is not None:
        raise RequestError("in YAML `#` begins a comment", text.place(comment - text.offset), hint=QUOTES)
    node = replace(value or Node(None, place), key=place)
    for step in reversed(path):
        node = Node({step: node}, place, place)
    return node
