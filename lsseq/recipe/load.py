"""Loads a recipe: the file, the recipes that it extends, and the command line over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lsseq.errors import Place, RequestError, nearest
from lsseq.recipe import catalogue
from lsseq.recipe.document import Node, read_document, said, shown_path
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.merge import explicit, inherited, merge, overridden
from lsseq.recipe.overrides import read_overrides
from lsseq.recipe.schema import Recipe
from lsseq.recipe.validate import place_of, validated

LONGEST_CHAIN = 20
"""Recipes that extend each other in a row."""


@dataclass(frozen=True)
class Loaded:
    """A recipe and where it comes from."""

    recipe: Recipe
    """Fully resolved; its `name` is filled in."""
    name: str
    """Of the run: `recipe.name`, else the name in the catalogue with `-` for `/`, else the name of the file."""
    source: Path
    tree: Node

    def place(self, key: str) -> Place | None:
        """Where the value of a dotted key was set; the section around it where the key was left out."""
        place = place_of(self.tree, tuple(key.split(".")))
        return None if place == self.tree.place else place

    def located(self, fault: KeyFault) -> KeyFault:
        """The fault with its place."""
        place = fault.place or self.place(fault.key)
        return KeyFault(
            fault.key, fault.message, place=place, suggestion=fault.suggestion, hint=fault.hint, more=fault.more
        )

    @contextmanager
    def blame(self) -> Iterator[None]:
        """Shows the faults of keys that are raised inside at the lines where the keys were set."""
        try:
            yield
        except KeyFault as fault:
            raise self.located(fault) from fault.__cause__


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """Load a recipe by its name in the catalogue, or from a file or a run folder.

    `overrides` are `KEY=VALUE` with dotted keys and YAML values; they are merged over everything else. Where
    they change the data or the model, the figures that the recipe states no longer hold and are left out.

    Raises: RequestError with everything that is wrong, each at its place.
    """
    path = catalogue.find(str(name_or_path))
    layer, faults = read_overrides(overrides)
    tree = replace(overridden(_with_bases(path, (), {}), layer), place=Place(shown_path(path)), key=None)
    recipe = validated(tree, faults)
    name = recipe.name or catalogue.run_name(path)
    return Loaded(recipe.model_copy(update={"name": name}), name, path, tree)


def extended(path: Path) -> list[tuple[Place, Path]]:
    """The files that a recipe file extends, in its order, and where it names them."""
    return [(node.place, _base(node, path)) for node in _extends(read_document(path))]


def _with_bases(path: Path, chain: tuple[Path, ...], done: dict[Path, Node]) -> Node:
    """The tree of a file over those of its bases; `chain` are the files on the way here."""
    if path in done:
        return done[path]
    document = read_document(path)
    assert isinstance(document.value, dict)
    tree: Node | None = None
    for node in _extends(document):
        base = _base(node, path)
        _refuse_endless(node.place, (*chain, path), base)
        below = inherited(_with_bases(base, (*chain, path), done))
        tree = below if tree is None else merge(tree, below)
    own = replace(document, value={key: node for key, node in document.value.items() if key != "extends"})
    own = explicit(own)
    done[path] = own if tree is None else merge(tree, own)
    return done[path]


def _extends(document: Node) -> list[Node]:
    """The values of `extends`, of which a later one stands over an earlier one."""
    node = document.child("extends")
    if node is None or node.value is None:
        return []
    nodes = node.value if isinstance(node.value, list) else [node]
    for inner in nodes:
        if not isinstance(inner.value, str) or not inner.value:
            raise RequestError(
                f"extends must be a recipe or a list of recipes (got {said(inner.plain())})", inner.place
            )
    return nodes


def _base(node: Node, path: Path) -> Path:
    """The file that a value of `extends` names: beside the recipe, with or without .yaml, or in the catalogue."""
    wanted = str(node.value)
    beside = path.parent / wanted
    for candidate in (beside, path.parent / f"{wanted}.yaml"):
        if catalogue.is_file(candidate):
            return candidate.resolve()
    if (found := catalogue.path_of(wanted)) is not None:
        return found
    near = [file.name for file in path.parent.glob("*.yaml") if file != path]
    suggestion = nearest(wanted, [*near, *(Path(name).stem for name in near), *catalogue.names()])
    raise RequestError(f"there is no recipe `{wanted}`", node.place, suggestion, "`lsseq recipes list` shows the names")


def _refuse_endless(place: Place, chain: tuple[Path, ...], base: Path) -> None:
    if base in chain:
        circle = [*chain[chain.index(base) :], base]
        raise RequestError("extends runs in a circle: " + " -> ".join(map(shown_path, circle)), place)
    if len(chain) >= LONGEST_CHAIN:
        raise RequestError(f"more than {LONGEST_CHAIN} recipes extend each other in a row", place)
