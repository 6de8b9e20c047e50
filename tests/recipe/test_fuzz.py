"""Whatever is written, a recipe comes out or a RequestError that can be shown."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lsseq.errors import RequestError, render
from lsseq.recipe import dump_recipe, load_recipe
from lsseq.recipe.document import Node
from lsseq.recipe.keys import every_key, section_in
from lsseq.recipe.merge import explicit, merge
from lsseq.recipe.overrides import read_overrides

KEYS = [key.path for key in every_key()]
WORDS = sorted({step for key in KEYS for step in key.split(".")} | {"extends", "kind", "hiden", "<<", ""})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["lstm", "cosine", "char", "one-hot", "quickstart", "ptb-char/base", 1, 0.5, 3])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=12,
)
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome(path: Path, overrides: list[str] | None = None) -> None:
    """Fails on any other exception, and on a recipe that its own dump does not give back."""
    try:
        loaded = load_recipe(path, overrides or [])
    except RequestError as error:
        render(error)
        return
    path.with_name("again.yaml").write_text(dump_recipe(loaded.recipe), encoding="utf-8")
    assert load_recipe(path.with_name("again.yaml")).recipe == loaded.recipe


@quick
@given(st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=5))
def test_any_mapping(tmp_path: Path, values: dict[str, Any]) -> None:
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(values, stream)
    path = tmp_path / "r.yaml"
    path.write_text(stream.getvalue(), encoding="utf-8")
    outcome(path)


@quick
@given(st.binary(max_size=60) | st.text(alphabet="{}[]:,-#&*!|>'\"%@`?a1 \n\t", max_size=60).map(str.encode))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    outcome(path)


ASSIGNMENTS = st.builds("{}={}".format, st.sampled_from(KEYS), st.text(max_size=12) | SCALARS)


@quick
@given(st.lists(ASSIGNMENTS | st.text(max_size=20), max_size=3))
def test_any_overrides(tmp_path: Path, overrides: list[str]) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("training: {steps: 3}\n", encoding="utf-8")
    outcome(path, overrides)


def tree(settings: dict[str, int]) -> Node:
    return read_overrides([f"{key}={value}" for key, value in settings.items()])[0]


# A section that changes its kind takes the place of all that is below it; what is merged first then matters.
LEAVES = [
    key.path
    for key in every_key()
    if key.path.startswith("model.") and not key.path.endswith(".kind") and section_in(key.annotation) is None
]
LAYERS = st.dictionaries(st.sampled_from(LEAVES), st.integers(0, 3), max_size=6)


@quick
@given(LAYERS, LAYERS, LAYERS)
def test_merging_is_associative_and_the_upper_layer_holds(
    a: dict[str, int], b: dict[str, int], c: dict[str, int]
) -> None:
    low, middle, high = tree(a), tree(b), tree(c)
    assert merge(merge(low, middle), high).plain() == merge(low, merge(middle, high)).plain()
    assert merge(low, low).plain() == low.plain()
    merged = merge(low, high)
    for key, value in {**a, **c}.items():
        node: Node | None = merged
        for step in key.split("."):
            node = node.child(step) if node else None
        assert node is not None
        assert node.value == value


@pytest.mark.parametrize("text", ["training.schedule=cosine", "training.averaging=ema"])
def test_writing_out_short_forms_twice_changes_nothing(text: str) -> None:
    layer, _ = read_overrides([text])
    assert explicit(layer) == layer
