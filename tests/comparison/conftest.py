"""A folder of runs for the tests of this package."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from trained_runs import train_tiny

BPC = {"metric": "bpc", "source": "A paper, table 1"}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    """Two seeds of an LSTM with stated figures, and an HM-LSTM."""
    runs = tmp_path_factory.mktemp("compared") / "runs"
    runs.mkdir()
    stated = {
        "name": "tiny-lstm",
        "published": [{**BPC, "split": "valid", "value": 1.4}, {**BPC, "value": 1.27, "parameters": 4260000}],
        "expected": [{"metric": "bpc", "value": 6.0, "tolerance": 3.0}],
    }
    for seed in (1, 2):
        train_tiny(runs / f"lstm-{seed}", small_text, f"training.seed={seed}", **stated)
    train_tiny(runs / "hm", small_text, "model.recurrence=hm-lstm", "model.layers=2")
    for file in runs.glob("*.yaml"):
        file.unlink()
    return runs


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))
