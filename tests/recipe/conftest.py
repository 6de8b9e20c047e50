"""A folder to write recipes into, and the faults of a recipe as text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lsseq.errors import RequestError, render
from lsseq.recipe import load_recipe

Write = Callable[..., Path]
Faults = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """`write(name, text)` writes a file below the current folder, which is a fresh one."""
    monkeypatch.chdir(tmp_path)

    def writer(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).lstrip("\n").encode())
        return path

    return writer


@pytest.fixture
def faults(write: Write) -> Faults:
    """`faults(text, *overrides)` is what the command line prints about a recipe with that text."""

    def refused(text: str | bytes, *overrides: str) -> str:
        write("r.yaml", text)
        with pytest.raises(RequestError) as caught:
            load_recipe("r.yaml", overrides)
        assert caught.value.exit_code == 2
        return render(caught.value)

    return refused
