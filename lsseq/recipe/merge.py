"""How the layers of a recipe, a base, the file itself and the command line, become one tree.

Mappings are merged key by key, and everything else is replaced. Three rules serve what people mean:

- A section that names another `kind` than the one below it takes its place whole: a cosine schedule over a plateau
  schedule keeps none of its keys. A bare name, `schedule: cosine`, stands for `schedule: {kind: cosine}`.
- Of keys that exclude each other (`Section.alternatives`), one that is given drops those below it: `data.text` over a
  base's `data.corpus`.
- `null` takes a value of the layers below away, and the default holds again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from lsseq.recipe.document import Node
from lsseq.recipe.keys import below as section_below
from lsseq.recipe.keys import fields_in, hints, section_in
from lsseq.recipe.schema import Recipe, Section

FIGURES = ("published", "expected")
"""Figures hold for one text, one network and one way to read."""
OWN = ("name", "description", *FIGURES)
"""Keys that speak of one recipe; another that extends it does not inherit them."""


def merge(lower: Node, upper: Node, section: type[Section] | None = Recipe) -> Node:
    """The tree with `upper` over `lower`; both were made `explicit`."""
    if not isinstance(lower.value, dict) or not isinstance(upper.value, dict) or _kind_changes(lower, upper):
        return upper
    merged = dict(lower.value)
    for group in section.alternatives if section else ():
        if any(key in upper.value and upper.value[key].value is not None for key in group):
            merged = {key: node for key, node in merged.items() if key not in group or key in upper.value}
    for key, node in upper.value.items():
        merged[key] = merge(merged[key], node, section_below(section, key)) if key in merged else node
    return replace(upper, value=merged)


def explicit(node: Node, annotation: Any = Recipe) -> Node:
    """The tree with short forms written out: a bare name as a mapping with a `kind`, one mapping for a list of them."""
    section = fields_in(annotation)
    if section is None:
        return node
    if isinstance(node.value, str) and "kind" in section.model_fields:
        return replace(node, value={"kind": Node(node.value, node.place, node.key)})
    if not isinstance(node.value, dict):
        return node
    if section_in(annotation) is None:
        return replace(node, value=[node])
    types = hints(section)
    return replace(node, value={key: explicit(inner, types.get(key)) for key, inner in node.value.items()})


def inherited(base: Node) -> Node:
    """What a recipe takes from one that it extends."""
    return _without(base, OWN)


def overridden(tree: Node, layer: Node) -> Node:
    """The tree with the command line over it; with other data or another model, the recipe's figures are not its."""
    evaluation = layer.child("evaluation")
    others = layer.child("data"), layer.child("model"), evaluation and evaluation.child("pieces")
    return merge(_without(tree, FIGURES) if any(others) else tree, layer)


def _without(tree: Node, keys: Collection[str]) -> Node:
    assert isinstance(tree.value, dict)
    return replace(tree, value={key: node for key, node in tree.value.items() if key not in keys})


def _kind_changes(lower: Node, upper: Node) -> bool:
    before, after = lower.child("kind"), upper.child("kind")
    return before is not None and after is not None and after.value is not None and before.value != after.value
