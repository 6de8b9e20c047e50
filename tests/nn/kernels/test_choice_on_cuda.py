"""The choice of a back end on CUDA, which needs neither a GPU nor Triton."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from lsseq.nn.kernels import cuda
from lsseq.nn.kernels.dispatch import Choice, Request, choose
from lsseq.nn.kernels.factors import Factors

ZONEOUT = Request("LSTM", "auto", ("zoneout_cell=0.5",), (), device="cuda", dtype=torch.float32)
PLAIN = Request("LSTM", "auto", (), (), device="cuda", dtype=torch.float32)
FUSED = Request("LSTM", "fused", (), (), device="cuda", dtype=torch.float32)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Choices are made anew."""
    choose.cache_clear()
    yield
    choose.cache_clear()


@pytest.fixture
def no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "find_spec", lambda name: None)
    monkeypatch.setattr(cuda, "_failure", cuda._failure.__wrapped__)  # without its memory


def test_importing_the_package_does_not_import_triton() -> None:
    script = "import sys, lsseq.nn; print('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"False\n"


def test_without_triton_auto_takes_the_reference(no_triton: None) -> None:
    obstacle = "Triton is not installed (PyTorch for CUDA on Linux brings it; else: pip install triton)"
    reason = f"PyTorch's own kernels cannot serve zoneout_cell=0.5, and {obstacle}"
    assert choose(ZONEOUT) == Choice("reference", reason)


def test_without_triton_fused_is_refused(no_triton: None) -> None:
    with pytest.raises(ValueError, match=r"^backend='fused': Triton is not installed \(.*; use 'auto' or 'reference'$"):
        choose(FUSED)


def test_a_type_that_the_kernels_do_not_compute_in() -> None:
    assert (
        cuda.obstacle(torch.complex64) == "the CUDA kernels compute in floating point of 16 to 64 bits, not complex64"
    )


def test_where_triton_works_fused_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_failure", lambda: None)
    assert choose(ZONEOUT) == Choice("fused", "PyTorch's own kernels cannot serve zoneout_cell=0.5")
    assert choose(FUSED) == Choice("fused", "as requested")


@pytest.mark.parametrize("backend", ["auto", "cudnn", "fused", "reference"])
def test_low_rank_weights_are_composed_but_for_the_reference(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_failure", lambda: None)
    taken = choose(replace(PLAIN, backend=backend, factors=Factors(4, 1024, 8, tied=False)))
    assert taken.backend == ("cudnn" if backend == "auto" else backend)
    assert taken.composed == (backend != "reference")


def test_a_plain_layer_does_not_ask_for_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "obstacle", lambda dtype: pytest.fail("asked"))
    assert choose(PLAIN) == Choice("cudnn", "no option asks for more")
