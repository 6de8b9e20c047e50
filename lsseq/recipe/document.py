"""Reads YAML into a tree that knows where each key and value stands.

The tree is built from the composed nodes of the parser, so that nothing in a file is ever constructed as an object: a
document is mappings, lists, text, numbers, true, false and null. Everything that is wrong with a document is a
`RequestError` with its place.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from lsseq.errors import Place, RequestError

if TYPE_CHECKING:
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import MappingNode, ScalarNode
    from ruamel.yaml.nodes import Node as YamlNode

LARGEST_FILE = 100_000
"""Bytes of a recipe file."""
MOST_VALUES = 20_000
"""Keys and values of a document after its aliases are followed: a few lines of aliases can stand for billions."""
DEEPEST = 40
"""Mappings and lists within each other."""

Scalar: TypeAlias = Union[str, int, float, bool, None]  # noqa: UP007


@dataclass(frozen=True)
class Node:
    """A value of a document with its place."""

    value: dict[str, Node] | list[Node] | Scalar
    place: Place
    """Where the value stands."""
    key: Place | None = None
    """Where its key stands, for a value of a mapping."""

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, step: str | int) -> Node | None:
        """The value under a key of a mapping or at an index of a list."""
        if isinstance(self.value, dict):
            return self.value.get(str(step))
        if isinstance(self.value, list) and isinstance(step, int) and 0 <= step < len(self.value):
            return self.value[step]
        return None


class Text:
    """A text and how positions in it are shown."""

    def __init__(self, text: str, source: str, *, numbered: bool = True, offset: int = 0) -> None:
        """Positions are counted in `text` from `offset` on; an argument of the command line has no line numbers."""
        self.text, self.source, self.numbered, self.offset = text, source, numbered, offset
        self._starts = [0, *(at + 1 for at, symbol in enumerate(text) if symbol == "\n")]

    def place(self, start: int, end: int | None = None) -> Place:
        """The place of the characters from `start` up to `end`, as far as they stand in one line."""
        start += self.offset
        row = bisect_right(self._starts, start) - 1
        first = self._starts[row]
        line = self.text[first : self._starts[row + 1] - 1 if row + 1 < len(self._starts) else None]
        width = 1 if end is None else max(1, min(end + self.offset, first + len(line)) - start)
        return Place(self.source, row + 1 if self.numbered else None, start - first + 1, line, width)


def read_document(path: Path) -> Node:
    """The mapping that a file holds.

    Raises: RequestError for a file that cannot be read, is not UTF-8 or YAML, or holds no mapping.
    """
    shown = shown_path(path)
    root = parse(Text(read_source(path), shown))
    if root is None:
        raise RequestError(f"`{shown}` is empty", Place(shown), hint="`lsseq recipes show quickstart` shows a recipe")
    if not isinstance(root.value, dict):
        raise RequestError(
            f"a recipe must be a mapping of keys to values, and this is {said(root.plain())}", root.place
        )
    return replace(root, place=Place(shown))


def read_source(path: Path) -> str:
    """The text of a recipe file, without a byte-order mark.

    Raises: RequestError for a file that cannot be read, is too large or not UTF-8.
    """
    shown = shown_path(path)
    return _decoded(_content(path, shown), shown)


def parse(text: Text) -> Node | None:
    """The one document in a text; None where there is nothing but comments."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            root = yaml.compose(text.text[text.offset :])
        return None if root is None else _Builder(text, yaml).node(root)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not valid YAML: {error.problem or error.context}"
        raise RequestError(message, text.place(mark.index) if mark else Place(text.source)) from None
    except ReaderError as error:
        message = f"not valid YAML: the character U+{_code(error.character):04X} is not allowed"
        raise RequestError(message, text.place(error.position)) from None
    except YAMLError as error:
        raise RequestError(f"not valid YAML: {error}", Place(text.source)) from None
    except RecursionError:
        raise RequestError(f"nested more than {DEEPEST} deep", Place(text.source)) from None


class _Builder:
    """Turns composed nodes into ours."""

    def __init__(self, text: Text, yaml: YAML) -> None:
        self.text, self.yaml, self.count = text, yaml, 0

    def node(self, node: YamlNode, key: Place | None = None, depth: int = 0) -> Node:
        from ruamel.yaml.nodes import MappingNode, ScalarNode

        place = self.place(node)
        self.count += 1
        if self.count > MOST_VALUES:
            raise RequestError(f"more than {MOST_VALUES:,} values, counting each use of an alias", place)
        if depth > DEEPEST:
            raise RequestError(f"nested more than {DEEPEST} deep", place)
        if isinstance(node, ScalarNode):
            return Node(self.scalar(node, place), place, key)
        kind = "map" if isinstance(node, MappingNode) else "seq"
        if node.tag != f"tag:yaml.org,2002:{kind}":
            raise RequestError(f"the tag `{_short(node.tag)}` has no meaning in a recipe", place)
        if isinstance(node, MappingNode):
            return Node(dict(self.items(node, depth)), place, key)
        return Node([self.node(item, depth=depth + 1) for item in node.value], place, key)

    def items(self, node: MappingNode, depth: int) -> Iterator[tuple[str, Node]]:
        from ruamel.yaml.nodes import ScalarNode

        lines: dict[str, Place] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node)
            if not isinstance(key_node, ScalarNode):
                raise RequestError("a key must be text, and this is a mapping or a list", place)
            key = "<<" if _short(key_node.tag) == "!!merge" else self.scalar(key_node, place)
            if not isinstance(key, str):
                raise RequestError(f"a key must be text (got {said(key)})", place)
            if key in lines:
                raise RequestError(f"the key `{key}` stands twice", place, _first_at(lines[key]))
            lines[key] = place
            yield key, self.node(value_node, place, depth + 1)

    def scalar(self, node: ScalarNode, place: Place) -> Scalar:
        tag = _short(node.tag)
        if tag in ("!!str", "!!timestamp"):
            return str(node.value)
        if tag == "!!null":
            return None
        construct = getattr(self.yaml.constructor, f"construct_yaml_{tag[2:]}", None)
        if tag not in ("!!int", "!!float", "!!bool") or construct is None:
            raise RequestError(f"the tag `{tag}` has no meaning in a recipe", place)
        try:
            value: Scalar = construct(node)
        except (ValueError, KeyError, IndexError, OverflowError):
            raise RequestError(f"not valid YAML: {said(str(node.value))} is not of the type {tag}", place) from None
        return value

    def place(self, node: YamlNode) -> Place:
        return self.text.place(node.start_mark.index, node.end_mark.index)


def said(value: object) -> str:
    """A value as an error message quotes it."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        text = str(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return "a huge number"
    text = text if len(text) <= 60 else text[:59] + "…"
    return f"`{text}`" if isinstance(value, str) else text


def shown_path(path: Path) -> str:
    """A path as messages show it: relative to the current folder where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except (OSError, ValueError):
        return str(path)


def _content(path: Path, shown: str) -> bytes:
    if not path.is_file():
        raise RequestError(f"`{shown}` is {'not a file' if path.exists() else 'missing'}", Place(shown))
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise RequestError(f"cannot read `{shown}`: {error.strerror}", Place(shown)) from None
    if len(content) > LARGEST_FILE:
        raise RequestError(f"`{shown}` is larger than {LARGEST_FILE:,} bytes; this is no recipe", Place(shown))
    return content


def _decoded(content: bytes, shown: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = len(content[content.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8", "replace")) + 1
        row = content.split(b"\n")[line - 1].decode("utf-8", "replace")
        message = f"the byte 0x{content[error.start]:02X} is not UTF-8"
        raise RequestError(message, Place(shown, line, column, row)) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _code(character: int | str) -> int:
    return character if isinstance(character, int) else ord(character)


def _short(tag: str | None) -> str:
    return str(tag).replace("tag:yaml.org,2002:", "!!")


def _first_at(place: Place) -> str:
    return "it stands here already" if place.line is None else f"the first is in line {place.line}"
