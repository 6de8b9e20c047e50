"""Writes a recipe as YAML."""

from __future__ import annotations

import io
from typing import Any

from lsseq.errors import RequestError
from lsseq.recipe.document import LARGEST_FILE
from lsseq.recipe.schema import Recipe


def dump_recipe(recipe: Recipe) -> str:
    """The fully resolved recipe as YAML, with every key that has a value; loading it gives an equal recipe.

    Raises:
        RequestError: it would be too large to be read as a recipe.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = 1_000_000
    stream = io.StringIO()
    yaml.dump(_plain(recipe), stream)
    text = stream.getvalue()
    if len(text.encode()) > LARGEST_FILE:
        raise RequestError(
            f"with all keys filled in the recipe is larger than {LARGEST_FILE:,} bytes",
            hint="`data.text` may name a folder instead of its files",
        )
    return text


def _plain(recipe: Recipe) -> dict[str, Any]:
    values: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    return values
