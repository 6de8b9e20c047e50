"""What a key of the recipe may be in a sweep: `a,b,c`, `1..4`, `0.1..0.5`, or `log:1e-4..1e-2`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsseq.errors import Place, RequestError
from lsseq.recipe import load_recipe
from lsseq.recipe.document import read_document
from lsseq.recipe.keys import branches, type_at

_RANGE = re.compile(r"(log:)?(.+?)\.\.(.+)")
_SYNTAX = "a space is `a,b,c`, `1..4`, `0.1..0.5` or `log:1e-4..1e-2`"


@dataclass(frozen=True)
class Choices:
    """One of some values."""

    values: tuple[str, ...]
    """As they stand behind `KEY=`."""

    @property
    def examples(self) -> tuple[str, ...]:
        """What shows whether the recipe takes such values."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included."""

    low: float
    high: float
    whole: bool
    """Integers alone."""
    log: bool
    """Its logarithm is evenly spread."""

    @property
    def examples(self) -> tuple[str, ...]:
        """What shows whether the recipe takes such values."""
        return str(self.low), str(self.high)


Space = Choices | Range


def read_spaces(arguments: Sequence[str], file: Path | None = None) -> dict[str, str]:
    """The spaces by their keys, as texts: those of a YAML file, and over them `KEY=SPACE` of the command line.

    In the file a key has a space as a text, one value, or a list of values.

    Raises:
        RequestError: an argument is not `KEY=SPACE`, or the file cannot be read.
    """
    spaces = {} if file is None else _of_file(file)
    for argument in arguments:
        key, sign, text = argument.partition("=")
        if not sign or not key.strip():
            raise RequestError(f"`{argument}` is not KEY=SPACE", Place("command line"), hint=_SYNTAX)
        spaces[key.strip()] = text
    return spaces


def _of_file(file: Path) -> dict[str, str]:
    document = read_document(file)
    assert isinstance(document.value, dict)
    spaces = {}
    for key, node in document.value.items():
        value = node.plain()
        if isinstance(value, dict):
            raise RequestError(
                f"the space of `{key}` is a mapping", node.place, hint="write a dotted key and its space"
            )
        spaces[key] = ",".join(map(_text, value)) if isinstance(value, list) else _text(value, alone=True)
    return spaces


def _text(value: Any, *, alone: bool = False) -> str:
    """A value as it stands behind `KEY=`; `alone` it may be a space that is written out."""
    plain = isinstance(value, str) and (alone or not re.search(r"""[,\[\]{}"']""", value))
    return value if plain else json.dumps(value, ensure_ascii=False)


def parse(key: str, text: str) -> Space:
    """The space that a text means.

    Raises:
        RequestError: it has no value, or a range has no numbers or an end before its beginning.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is not None and (found[1] or (_is_number(found[2]) and _is_number(found[3]))):
        return _range(key, text, found)
    if text.startswith("log:"):
        raise _wrong(key, text, "it has no `..`")
    values = tuple(value.strip() for value in _parts(text))
    if not all(values):
        raise _wrong(key, text, "a value is missing")
    return Choices(tuple(dict.fromkeys(values)))


def _range(key: str, text: str, found: re.Match[str]) -> Range:
    log, ends = bool(found[1]), (found[2], found[3])
    if not all(map(_is_number, ends)):
        raise _wrong(key, text, "its ends are no numbers")
    low, high = map(float, ends)
    if not low < high:
        raise _wrong(key, text, "its end is not above its beginning")
    if log and low <= 0:
        raise _wrong(key, text, "a logarithm needs numbers above 0")
    annotation = type_at(key.split("."))
    whole = all(end.strip().lstrip("+-").isdecimal() for end in ends) and not (
        annotation is not None and any(kind is float for kind, _ in branches(annotation))
    )
    return Range(int(low) if whole else low, int(high) if whole else high, whole, log)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _parts(text: str) -> list[str]:
    """Cut at the commas that stand in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for symbol in text:
        if quote:
            quote = "" if symbol == quote else quote
        elif symbol in "\"'":
            quote = symbol
        else:
            depth += (symbol in "[{") - (symbol in "]}")
        if symbol == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += symbol
    return parts


def _wrong(key: str, text: str, what: str) -> RequestError:
    return RequestError(f"the space `{text}` of `{key}` cannot be read: {what}", hint=_SYNTAX)


def split(spaces: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The keys that have one value in all trials, with that value, and the spaces of those that are searched.

    Raises:
        RequestError: as `parse`.
    """
    parsed = {key: parse(key, text) for key, text in spaces.items()}
    fixed = {key: one.values[0] for key, one in parsed.items() if isinstance(one, Choices) and len(one.values) == 1}
    return fixed, {key: text for key, text in spaces.items() if key not in fixed}


def check(recipe: str | Path, spaces: Mapping[str, Space], fixed: Mapping[str, str]) -> None:
    """Load the recipe with every choice and with both ends of every range.

    What one key may be can depend on another: each is tried beside the first values of the others, then the last ones.

    Raises:
        RequestError: as `load_recipe`, for the first of them that is wrong in both.
    """
    first = {**fixed, **{key: space.examples[0] for key, space in spaces.items()}}
    last = {**fixed, **{key: space.examples[-1] for key, space in spaces.items()}}
    for key, space in spaces.items():
        for example in space.examples:
            try:
                load_recipe(recipe, overrides({**first, key: example}))
            except RequestError as wrong:
                try:
                    load_recipe(recipe, overrides({**last, key: example}))
                except RequestError:
                    raise wrong from None


def overrides(values: Mapping[str, Any]) -> list[str]:
    """`KEY=VALUE` as `lsseq train` takes them."""
    return [f"{key}={value}" for key, value in values.items()]


def combinations(spaces: Mapping[str, Space]) -> int | None:
    """How many settings there are; None where a range has no end of them."""
    sizes = [_size(space) for space in spaces.values()]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def _size(space: Space) -> int | None:
    if isinstance(space, Choices):
        return len(space.values)
    return int(space.high - space.low) + 1 if space.whole else None


def finite(space: Space) -> list[Any]:
    """All values of a space that has an end of them."""
    return list(space.values) if isinstance(space, Choices) else list(range(int(space.low), int(space.high) + 1))
