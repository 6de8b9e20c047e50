"""What the schema says about a dotted key: whether it exists, its type in plain English, its neighbours.

The words that an error uses for a type are made from the annotation, so that a new key needs no message of its own.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import annotated_types
from pydantic.fields import FieldInfo

from lsseq.recipe.schema import Recipe, Section

Branch: TypeAlias = tuple[Any, list[Any]]
"""A type and its limits, such as `int` and `[Ge(1)]`."""


@dataclass(frozen=True)
class Key:
    """A key of the schema."""

    path: str
    """Dotted."""
    annotation: Any
    section: type[Section]
    """Where it stands."""

    @property
    def field(self) -> FieldInfo:
        return self.section.model_fields[self.path.rpartition(".")[2]]


@cache
def hints(section: type[Section]) -> dict[str, Any]:
    """The annotations of a section's keys, with their limits."""
    known = get_type_hints(section, include_extras=True)
    return {name: known[name] for name in section.model_fields}


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a value of this type may be."""
    for kind, _ in branches(annotation):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def fields_in(annotation: Any) -> type[Section] | None:
    """The section that a value of this type, or each item of a list, may be."""
    items = [get_args(kind)[0] for kind, _ in branches(annotation) if _origin(kind) is list]
    return section_in(annotation) or next((section for item in items if (section := section_in(item))), None)


def below(section: type[Section] | None, key: str) -> type[Section] | None:
    """The section under a key of a section."""
    return section_in(hints(section)[key]) if section and key in section.model_fields else None


def every_key(section: type[Section] = Recipe, prefix: str = "") -> Iterator[Key]:
    """All dotted keys of mappings, sections before what is in them."""
    for name, annotation in hints(section).items():
        yield Key(prefix + name, annotation, section)
        if inner := section_in(annotation):
            yield from every_key(inner, f"{prefix}{name}.")


def type_at(path: Sequence[str | int], annotation: Any = Recipe) -> Any | None:
    """The type of the value at a path, or None where the schema knows no such path."""
    if not path:
        return annotation
    step, rest = path[0], path[1:]
    for kind, _ in branches(annotation):
        inner: Any = None
        if isinstance(kind, type) and issubclass(kind, Section):
            inner = hints(kind).get(str(step))
        elif _origin(kind) in (list, tuple) and isinstance(step, int):
            inner = get_args(kind)[0]
        elif _origin(kind) is dict and isinstance(step, str):
            inner = get_args(kind)[1]
        if inner is not None and (found := type_at(rest, inner)) is not None:
            return found
    return None


def branches(annotation: Any) -> list[Branch]:
    """The members of a union without None; the one type where there is no union."""
    limits: list[Any] = []
    while _origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        for item in extra:
            limits += item.metadata if isinstance(item, FieldInfo) else [item]
    if _origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) if member is not type(None) for inner in branches(member)]
    return [(annotation, limits)]


# ------------------------------------------------------------------------------------------------------ types in words


def described(annotation: Any) -> str:
    """A type in plain English: "an integer of at least 1, or a list of them"."""
    words: list[str] = []
    members = branches(annotation)
    for at, (kind, limits) in enumerate(members):
        of_those_before = _origin(kind) is list and branches(get_args(kind)[0])[0] in members[:at]
        words.append("a list of them" if of_those_before else _one(kind, limits))
    return ", or ".join(dict.fromkeys(words))


def _one(kind: Any, limits: list[Any]) -> str:
    origin, inner = _origin(kind), get_args(kind)
    if origin is Literal:
        names = [f"`{name}`" for name in inner]
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    if origin is list:
        return f"a list of {_many(inner[0])}"
    if origin is tuple:
        return f"a list of {len(inner)} {_many(inner[0])}"
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        return f"{'an integer' if kind is int else 'a number'}{_range(limits)}"
    if kind is str:
        return "text"
    if isinstance(kind, type) and issubclass(kind, Section) and "kind" in kind.model_fields:
        return f"a mapping, or its `kind` alone ({described(hints(kind)['kind'])})"
    return "a mapping"


def _many(annotation: Any) -> str:
    kind, limits = branches(annotation)[0]
    if kind in (int, float):
        return f"{'integers' if kind is int else 'numbers'}{_range(limits)}"
    return "texts" if kind is str else "mappings"


def _range(limits: list[Any]) -> str:
    bounds: dict[str, Any] = {}
    for limit in limits:
        for name, cls in (("ge", annotated_types.Ge), ("gt", annotated_types.Gt)):
            if isinstance(limit, cls):
                bounds[name] = getattr(limit, name)
        for name, upper in (("le", annotated_types.Le), ("lt", annotated_types.Lt)):
            if isinstance(limit, upper):
                bounds[name] = getattr(limit, name)
    bounds = {name: f"{value:g}" if value < 1e6 else f"{value}" for name, value in bounds.items()}
    low = bounds.get("ge", bounds.get("gt"))
    high = bounds.get("le", bounds.get("lt"))
    if low is None:
        return "" if high is None else f" {'of at most' if 'le' in bounds else 'below'} {high}"
    if high is None:
        return f" {'of at least' if 'ge' in bounds else 'above'} {low}"
    start = f" from {low} to" if "ge" in bounds else f" above {low} and"
    if "le" in bounds:
        return f"{start} {high}" if "ge" in bounds else f"{start} at most {high}"
    return f"{start} below {high}"


# --------------------------------------------------------------------------------------------------------- near misses


def keys_of(path: Sequence[str | int]) -> str:
    """The hint that says which keys are allowed in the innermost section on the way to a path."""
    inner: list[str] = []
    for at, step in enumerate(path):
        if type_at(path[: at + 1]) is None or not fields_in(type_at(path[: at + 1])):
            break
        inner += [step] if isinstance(step, str) else []
    if not inner:
        return f"the keys here are extends, {', '.join(Recipe.model_fields)}"
    return f"`lsseq recipes schema {'.'.join(inner)}` lists the keys allowed here"


def nearest_key(path: str) -> str | None:
    """The phrase "did you mean `x`?" for the dotted key that was most likely meant."""
    known = [key.path for key in every_key()]
    same_end = [key for key in known if key.rpartition(".")[2] == path.rpartition(".")[2]]
    close = difflib.get_close_matches(path, same_end, n=1, cutoff=0.0) or difflib.get_close_matches(path, known, n=1)
    return f"did you mean `{close[0]}`?" if close else None


def _origin(annotation: Any) -> Any:
    return get_origin(annotation)
