"""Libraries that are missing or broken."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from lsseq.data import open_text
from lsseq.data.libraries import library
from lsseq.errors import RunError, render
from lsseq.recipe.schema import Data, HubDataset


def test_a_library_that_is_there() -> None:
    assert library("json") is sys.modules["json"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("datasets", Data(dataset=HubDataset(name="text"))),
        ("sentencepiece", Data(unit="sentencepiece", vocabulary_size=321)),
    ],
)
@pytest.mark.parametrize("error", [ImportError("No module named 'pyarrow'"), ValueError("numpy.dtype size changed")])
def test_a_library_that_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, small_text, name: str, data: Data, error: Exception
) -> None:
    real = importlib.import_module

    def broken(wanted: str, package: str | None = None) -> ModuleType:
        if wanted == name:
            raise error
        return real(wanted, package)

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(RunError) as caught:
        open_text(data if data.dataset else data.model_copy(update={"text": str(small_text)}))
    assert render(caught.value).splitlines() == [
        f"error: the library `{name}` cannot be imported: {error}",
        f"hint: `pip install {name}` installs it",
    ]
