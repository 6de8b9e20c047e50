"""Runs that were really trained, as small as can be, and what lies in a folder."""

from __future__ import annotations

from pathlib import Path

from tiny_run import tiny_recipe

from lsseq.recipe import dump_recipe, load_recipe
from lsseq.training.session import Result, train_recipe


def train_tiny(folder: Path, text: Path, *overrides: str, **sections: object) -> Result:
    """Train six steps, with an evaluation every two, in `folder`; sections and overrides as in `tiny_recipe`."""
    training = {"steps": 6, "batch": 4, "bptt": 20, "log_every": 2, "evaluate_every": 2}
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(dump_recipe(tiny_recipe(text, training=training, **sections)), encoding="utf-8")
    return train_recipe(load_recipe(file, overrides), folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
