"""Devices and number formats: what is refused says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lsseq.recipe import KeyFault
from lsseq.training import device as module
from lsseq.training.device import MixedPrecision, choose_device, cpu_has_bfloat16

CPU = torch.device("cpu")


def test_auto_takes_what_is_there() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(
    ("version", "why"), [(None, "this torch was built without CUDA"), ("12.4", "torch finds no CUDA device")]
)
def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch, version: str | None, why: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)
    with pytest.raises(KeyFault) as caught:
        choose_device("cuda")
    assert caught.value.key == "training.device"
    assert caught.value.message == f"cuda is not available: {why}"
    assert caught.value.hint == "leave it at `auto`, or choose `cpu`"


def test_float32_casts_nothing() -> None:
    with MixedPrecision("float32", CPU).autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


def test_float16_needs_cuda() -> None:
    with pytest.raises(KeyFault, match="float16 needs CUDA"):
        MixedPrecision("float16", CPU)


def test_bfloat16_where_the_cpu_emulates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_has_bfloat16", lambda: False)
    with pytest.raises(KeyFault) as caught:
        MixedPrecision("bfloat16", CPU)
    assert caught.value.key == "training.precision"
    assert "many times slower than float32" in caught.value.message


def test_bfloat16_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_has_bfloat16", lambda: True)
    precision = MixedPrecision("bfloat16", CPU)
    with precision.autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
    assert not precision.scaler.is_enabled()


@pytest.mark.parametrize(
    ("flags", "real"),
    [("flags\t\t: fpu avx2 avx512f", False), ("flags\t\t: avx512_bf16 fpu", True), ("Features\t: fp bf16 sve", True)],
)
def test_the_processor_is_asked(monkeypatch: pytest.MonkeyPatch, flags: str, real: bool) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: flags)
    assert cpu_has_bfloat16() is real


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert cpu_has_bfloat16() is False


def test_an_unknown_device_is_not_taken_for_another() -> None:
    with pytest.raises(KeyFault, match="unknown device `mps`"):
        choose_device("mps")  # type: ignore[arg-type]
