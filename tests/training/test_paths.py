"""A run keeps absolute paths, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lsseq.recipe.schema import Data, Recipe, Training
from lsseq.training.paths import with_absolute_paths


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"text": "a.txt"}, {"text": "HERE/a.txt"}),
        ({"text": ["a.txt", "HERE/b"]}, {"text": ["HERE/a.txt", "HERE/b"]}),
        ({"text": {"train": "a.txt", "valid": "b"}}, {"text": {"train": "HERE/a.txt", "valid": "HERE/b"}}),
        ({"text": "absent.txt"}, {"text": "absent.txt"}),
        (
            {"dataset": {"name": "text", "files": {"train": "a.txt"}}},
            {"dataset": {"name": "text", "files": {"train": "HERE/a.txt"}}},
        ),
        (
            {"dataset": {"name": "b", "files": {"train": "a.txt"}}},
            {"dataset": {"name": "b", "files": {"train": "HERE/a.txt"}}},
        ),
        ({"dataset": {"name": "b"}}, {"dataset": {"name": "HERE/b"}}),
        ({"dataset": {"name": "org/corpus"}}, {"dataset": {"name": "org/corpus"}}),
        ({"corpus": "ptb", "vocabulary": "a.txt"}, {"corpus": "ptb", "vocabulary": "HERE/a.txt"}),
    ],
)  # fmt: skip
def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, kept: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b").mkdir()

    def recipe(data: Any) -> Recipe:
        def here(value: Any) -> Any:
            if isinstance(value, str):
                return value.replace("HERE", str(tmp_path))
            if isinstance(value, list):
                return [here(inner) for inner in value]
            return {key: here(inner) for key, inner in value.items()}

        return Recipe(data=Data(**here(data)), training=Training(steps=1))

    assert with_absolute_paths(recipe(given)) == recipe(kept)
