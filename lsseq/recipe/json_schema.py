"""The JSON schema of recipe files, for editors, and the same as text for people."""

from __future__ import annotations

import textwrap
from typing import Any

from pydantic.fields import FieldInfo

from lsseq.errors import RequestError
from lsseq.recipe.document import said
from lsseq.recipe.keys import Key, described, every_key, fields_in, nearest_key, section_in, type_at
from lsseq.recipe.schema import Recipe, Section

_EXTENDS = {
    "description": "Another recipe, or a list of them, whose keys are merged below this one's; a later one stands over "
    "an earlier one. A path beside this file, with or without .yaml, or a name that `lsseq recipes list` shows.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}


def json_schema(path: str = "") -> dict[str, Any]:
    """The JSON schema of a recipe file, or of the value of a dotted key.

    A file may leave what a whole recipe must have to those that it extends, so nothing that is merged is required.
    Every key may be null, which stands for its default, and a section with a `kind` may be its bare name.

    Raises: RequestError for a key that does not exist.
    """
    section = section_in(_known(path))
    if section is None:
        parent, _, name = path.rpartition(".")
        inner = json_schema(parent)
        picked: dict[str, Any] = inner["properties"][name]
        return {**picked, **({"$defs": inner["$defs"]} if "$defs" in inner else {})}
    schema = section.model_json_schema()
    merged = {part.__name__ for key in every_key() if (part := section_in(key.annotation))} | {Recipe.__name__}
    for part in (schema, *schema.get("$defs", {}).values()):
        if part["title"] in merged:
            part.pop("required", None)
        part["properties"] = {name: _lenient(value) for name, value in part.get("properties", {}).items()}
    if section is Recipe:
        schema["properties"] = {"extends": _EXTENDS, **schema["properties"]}
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return schema


def readable(path: str) -> str:
    """Each key under a dotted key, with its type, default and meaning.

    Raises: RequestError for a key that does not exist.
    """
    section = fields_in(_known(path))
    if section is None:
        keys = [key for key in every_key() if key.path == path]
        prefix = path.rpartition(".")[0]
    else:
        keys = [key for key in every_key(section) if section_in(key.annotation) is None or "kind" in _fields(key)]
        prefix = path
    head = [f"{prefix}: {_paragraph(section.__doc__)}", ""] if section else []
    return "\n".join(head + [line for key in keys for line in _lines(key, prefix if section is None else "")])


def _lines(key: Key, prefix: str) -> list[str]:
    name = key.path.removeprefix(f"{prefix}.") if prefix else key.path
    lines = [f"  {name}: {described(key.annotation)}{_default(key.field)}"]
    meaning = _paragraph(key.field.description or getattr(section_in(key.annotation), "__doc__", None))
    return lines + (textwrap.wrap(meaning, 100, initial_indent="      ", subsequent_indent="      ") if meaning else [])


def _default(field: FieldInfo) -> str:
    default = field.default
    if field.is_required():
        return "; must be given"
    if default is None or isinstance(default, (Section, list)):
        return ""
    return f"; default {list(default) if isinstance(default, tuple) else said(default)}"


def _fields(key: Key) -> dict[str, FieldInfo]:
    section = section_in(key.annotation)
    return section.model_fields if section else {}


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").split())


def _known(path: str) -> Any:
    found = type_at(path.split(".") if path else [])
    if found is None:
        raise RequestError(f"unknown key `{path}`", suggestion=nearest_key(path))
    return found


def _lenient(value: dict[str, Any]) -> dict[str, Any]:
    """A property that may also be null, and a mapping with a kind also its bare name."""
    types = value.get("anyOf", [])
    if any(kind.get("type") == "null" for kind in types):
        return value
    about = {name: inner for name, inner in value.items() if name in ("description", "default", "title")}
    kind = {name: inner for name, inner in value.items() if name not in about and name != "anyOf"}
    choices = [*types, *([kind] if kind else []), *_other_form(kind), {"type": "null"}]
    return {**about, "anyOf": choices}


def _other_form(kind: dict[str, Any]) -> list[dict[str, Any]]:
    """The bare name of a section with a `kind`, and the one mapping for a list of mappings."""
    if reference := kind.get("items", {}).get("$ref"):
        return [{"$ref": reference}]
    reference = kind.get("$ref", "")
    name = reference.rpartition("/")[2]
    named = [key for key in every_key() if (section := section_in(key.annotation)) and section.__name__ == name]
    return [{"$ref": f"{reference}/properties/kind"}] if named and "kind" in _fields(named[0]) else []
