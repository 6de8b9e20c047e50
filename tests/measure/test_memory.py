"""The peak memory of training, on a module whose needs are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lsseq.measure import memory
from lsseq.measure.memory import peak_bytes

CPU = torch.device("cpu")
MEGABYTE = 1 << 20


class Exponential(nn.Module):
    """Keeps its output for the backward pass, and allocates `extra` bytes for a moment."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, x: Tensor) -> tuple[Tensor]:
        torch.ones(self.extra // 4)
        return (x.exp(),)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell")
def test_what_is_allocated_counts() -> None:
    def peak(extra: int) -> int:
        found = peak_bytes(lambda: Exponential(extra), lambda: torch.randn(4 * MEGABYTE, requires_grad=True), CPU)
        assert found is not None
        return found

    # The input, the output and the gradient of the input, 16 MiB each, whatever was allocated before.
    plain = peak(0)
    assert 44 * MEGABYTE < plain < 72 * MEGABYTE
    # The input and what is there for a moment; where the process keeps what it frees, output and gradient add to it.
    assert 110 * MEGABYTE < peak(96 * MEGABYTE) < 165 * MEGABYTE
    assert abs(peak(0) - plain) < 8 * MEGABYTE


def test_a_system_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "proc")
    make = lambda: Exponential(0)  # noqa: E731
    assert peak_bytes(make, lambda: torch.randn(3, requires_grad=True), CPU) is None
    monkeypatch.setattr(memory, "_PROCESS", tmp_path)
    (tmp_path / "status").write_text("Name: a system without memory lines\n")
    assert peak_bytes(make, lambda: torch.randn(3, requires_grad=True), CPU) is None
