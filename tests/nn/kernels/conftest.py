"""Lets the tests of this folder import the helpers that lie beside them; memory full of NaN; instruction sets."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lsseq.nn.kernels.cpu import native

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def poison() -> Iterator[None]:
    """Memory that nobody wrote to is NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=["plain", "avx2", "avx512"])
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each set that this processor has, in place of the best."""
    sets = ["plain", "avx2", "avx512"]
    if sets.index(request.param) > sets.index(native.instruction_set()):
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setattr(native, "instruction_set", lambda: request.param)
    native._function.cache_clear()
    yield request.param
    native._function.cache_clear()
