"""Lets the tests of this folder import the helpers that lie beside them; memory full of NaN."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def poison() -> Iterator[None]:
    """Memory that nobody wrote to is NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
