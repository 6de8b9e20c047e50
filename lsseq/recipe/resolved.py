"""Reads the recipe.yaml of a run quickly, for those who read many.

`dump_recipe` writes a small part of YAML: mappings and lists in blocks, and scalars on one line. That part is read here
line by line, which takes a hundredth of the time; whatever else stands in a file is left to `load_recipe`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

from lsseq.recipe.load import load_recipe
from lsseq.recipe.schema import Recipe

_ENTRY = re.compile(r"([a-z_]+):(?: (.+))?")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?[0-9]+(?:\.[0-9]+(?:e[+-]?[0-9]+)?|e-[0-9]+)")
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_TEXT = re.compile(r"(?:[0-9]+ )?[A-Za-z/][^:#]*|[0-9]+\.[0-9]+\.[0-9]+[a-z0-9+]*")
"""What can only be text: no number, and nothing that YAML marks otherwise."""
_WORDS = {"true": True, "false": False, "[]": [], "{}": {}}
_NO_TEXT = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null")

Line: TypeAlias = tuple[int, str]
"""Indentation, and what follows it."""


class _Unknown(Exception):  # noqa: N818 - nothing need be wrong
    """The text is not of the part of YAML that is read here."""


def read_resolved(path: Path) -> Recipe:
    """The recipe of a run folder's recipe.yaml, which extends nothing.

    Raises: RequestError as `load_recipe`.
    """
    try:
        return Recipe.model_validate(_document(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, _Unknown):
        return load_recipe(path).recipe


def _document(text: str) -> Any:
    lines = [(len(line) - len(line.lstrip(" ")), line.lstrip(" ")) for line in text.split("\n") if line]
    value, read = _block(lines, 0, 0) if lines else (None, 0)
    if read != len(lines):
        raise _Unknown
    return value


def _block(lines: list[Line], at: int, indent: int) -> tuple[Any, int]:
    """The mapping or list whose lines begin at `at`, and where they end."""
    if lines[at][1].startswith("- "):
        return _list(lines, at, indent)
    values: dict[str, Any] = {}
    while at < len(lines) and lines[at][0] == indent:
        entry = _ENTRY.fullmatch(lines[at][1])
        if entry is None or entry[1] in values:
            break
        key, value = entry.groups()
        at += 1
        if value is not None:
            values[key] = _scalar(value)
        elif at < len(lines) and (lines[at][0] > indent or (lines[at][0] == indent and lines[at][1][:2] == "- ")):
            values[key], at = _block(lines, at, lines[at][0])
        else:
            raise _Unknown
    return values, at


def _list(lines: list[Line], at: int, indent: int) -> tuple[list[Any], int]:
    values = []
    while at < len(lines) and lines[at][0] == indent and lines[at][1].startswith("- "):
        item = lines[at][1][2:]
        if _ENTRY.fullmatch(item):
            lines[at] = (indent + 2, item)
            value, at = _block(lines, at, indent + 2)
        else:
            value, at = _scalar(item), at + 1
        values.append(value)
    return values, at


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if quoted := _QUOTED.fullmatch(text):
        return quoted[1].replace("''", "'")
    if _TEXT.fullmatch(text) and not _NO_TEXT.fullmatch(text) and text == text.strip():
        return text
    raise _Unknown
