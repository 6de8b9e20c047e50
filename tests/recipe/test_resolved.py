"""The quick reader gives what the YAML library gives, or leaves the text to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.errors import RequestError
from lsseq.recipe import dump_recipe, load_recipe, read_resolved, resolved
from lsseq.recipe.catalogue import entries
from lsseq.recipe.document import Text, parse

NAMES = [entry.name for entry in entries() if not entry.is_base]


def test_shipped_recipes_are_read_quickly_and_alike() -> None:
    left = []
    for name in NAMES:
        recipe = load_recipe(name).recipe
        try:
            read = resolved._document(dump_recipe(recipe))
        except resolved._Unknown:
            left.append(name)
        else:
            assert type(recipe).model_validate(read) == recipe, name
    assert len(left) < len(NAMES) / 10


def test_a_file_is_read_either_way(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    recipe = load_recipe("quickstart").recipe
    for description in ("plain", "two: parts", "a\nline", "# 1", "'quoted'", "1e3", "yes", ""):
        changed = recipe.model_copy(update={"description": description})
        path.write_text(dump_recipe(changed), encoding="utf-8")
        assert read_resolved(path) == changed


def test_what_is_wrong_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("model:\n  hiden: 3\ntraining:\n  steps: 1\n", encoding="utf-8")
    with pytest.raises(RequestError, match="hiden") as error:
        read_resolved(path)
    assert error.value.place is not None
    assert error.value.place.line == 2


PARTS = [
    "a: ",
    "b_c:",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "  ",
    "x",
    "1",
    "-1.5",
    "1e-3",
    "1.5e3",
    "true",
    "null",
    "''",
    "'it''s'",
]
PARTS += [
    "[]",
    "{}",
    "[1]",
    " #",
    ": ",
    '"',
    "|",
    "&a",
    "*a",
    "!!str",
    "0x1",
    "1_0",
    "01",
    "0.1.2",
    "2 x",
    "~",
    "---",
    "y",
]
PARTS += ["2001-01-01", "é", "\t", "1:30", ".5", "5.", "+1", "%", ">", "x: y", "<<: "]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
def test_whatever_it_reads_the_library_reads_alike(text: str) -> None:
    try:
        read = resolved._document(text)
    except (resolved._Unknown, ValueError):
        return
    node = parse(Text(text, "text"))
    assert same(read, None if node is None else node.plain())


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types all the way down."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right
