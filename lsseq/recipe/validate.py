"""From the merged tree to a `Recipe`, or to all that is wrong with it in plain English, each at its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lsseq.errors import Place, Problem, RequestError, nearest
from lsseq.recipe.document import Node, said
from lsseq.recipe.keys import branches, described, keys_of, section_in, type_at
from lsseq.recipe.overrides import COMMAND_LINE
from lsseq.recipe.schema import Recipe

Path = tuple[str | int, ...]


def validated(tree: Node, before: Sequence[RequestError] = ()) -> Recipe:
    """The recipe that a tree holds.

    Raises: RequestError with the faults that were found before, and all that is wrong with the tree.
    """
    faults = list(before)
    try:
        recipe = Recipe.model_validate(tree.plain())
    except ValidationError as error:
        faults = [*_faults(error, tree), *faults]
    if faults:
        problems = dict.fromkeys(problem for fault in faults for problem in fault.problems)
        raise RequestError.of(sorted(problems, key=_order), next((fault.hint for fault in faults if fault.hint), None))
    return recipe


def place_of(tree: Node, path: Path) -> Place:
    """Where the value at a path was set, or the nearest mapping around it."""
    place = tree.place
    for step in path:
        child = tree.child(step)
        if child is None:
            break
        tree, place = child, child.place
    return place


def dotted(path: Path) -> str:
    """`("published", 0, "value")` as `published[0].value`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _faults(error: ValidationError, tree: Node) -> list[RequestError]:
    details = error.errors(include_url=False)
    located = [(_path(detail, tree), detail) for detail in details]
    paths = {path for path, _ in located}
    faults: list[RequestError] = []
    for path, detail in located:
        inside_a_union = len(branches(type_at(path) or Recipe)) > 1
        if inside_a_union and any(other[: len(path)] == path and len(other) > len(path) for other in paths):
            continue  # the branch of the union that the value was meant for says more
        faults.append(_fault(path, detail, tree))
    return faults


def _path(detail: ErrorDetails, tree: Node) -> Path:
    """The path in the tree: pydantic's location names the branch of a union, too."""
    path: list[str | int] = []
    steps = detail["loc"]
    node: Node | None = tree
    for at, step in enumerate(steps):
        child = node.child(step) if node else None
        if child is not None:
            node = child
            path.append(step)
        elif detail["type"] == "missing" and at == len(steps) - 1 and isinstance(step, str):
            path.append(step)
    return tuple(path)


def _fault(path: Path, detail: ErrorDetails, tree: Node) -> RequestError:
    name = dotted(path)
    context: dict[str, Any] = detail.get("ctx", {})
    if detail["type"] == "broken_rule":
        at = (*path, *filter(None, context["key"].split(".")))
        return RequestError(context["message"], place_of(tree, at), context["suggestion"])
    if detail["type"] == "missing" and _node(tree, path) is None:
        return RequestError(f"missing key `{name}`", _key_place(tree, path[:-1]))
    if detail["type"] == "extra_forbidden":
        return _unknown(path, tree)
    expected = described(type_at(path))
    node = _node(tree, path)
    value = node.plain() if node else None
    return RequestError(f"{name} must be {expected} (got {said(value)})", place_of(tree, path), _meant(path, value))


def _unknown(path: Path, tree: Node) -> RequestError:
    around, key = path[:-1], str(path[-1])
    section = section_in(type_at(around))
    where = f" in {dotted(around)}" if around else ""
    known = [*section.model_fields, *(["extends"] if not around else [])] if section else []
    return RequestError(f"unknown key `{key}`{where}", _key_place(tree, path), nearest(key, known), keys_of(around))


def _meant(path: Path, value: object) -> str | None:
    """The nearest name where names are expected; a way to write a number as text where text is."""
    kinds = [kind for kind, _ in branches(type_at(path))]
    if isinstance(value, str):
        return nearest(value, [str(name) for kind in kinds for name in getattr(kind, "__args__", ())])
    if str in kinds and isinstance(value, (int, float)):
        return "text that looks like a number stands in quotes"
    return None


def _key_place(tree: Node, path: Path) -> Place:
    """Where the last key of a path stands."""
    node = _node(tree, path)
    return tree.place if node is None else node.key or node.place


def _node(tree: Node, path: Path) -> Node | None:
    node: Node | None = tree
    for step in path:
        node = node.child(step) if node else None
    return node


def _order(problem: Problem) -> tuple[bool, str, int, int]:
    place = problem.place or Place("")
    return (place.source == COMMAND_LINE, place.source, place.line or 0, place.column or 0)
