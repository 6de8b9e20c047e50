"""What is told of the machine."""

from __future__ import annotations

import kernels_at_hand as at_hand
import pytest
import torch

from lsseq.errors import RequestError
from lsseq.measure import machine
from lsseq.measure.machine import busy, choose_device, describe_devices, this_machine, versions


@pytest.mark.parametrize(
    ("load", "threads", "warns"), [(None, 4, False), (0.4, 4, False), (2.0, 2, False), (1.0, 4, True)]
)
def test_a_busy_machine(load: float | None, threads: int, warns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    said = busy(load, threads)
    assert (said is not None) is warns
    if said:
        assert said == "warning: this machine is busy (load 1.0 on 4 cores, 4 threads wanted): figures scatter"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(RequestError, match="there is no device `cuda` here"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")


def test_fused_kernels_or_why_there_are_none() -> None:
    with at_hand.fused():
        found = describe_devices()[0]
    assert (found["device"], found["threads"]) == ("cpu", torch.get_num_threads())
    assert found["fused"] == {"available": True, "what": "kernels of the tests"}
    with at_hand.fused(obstacle="nobody compiled them"):
        assert describe_devices()[0]["fused"] == {"available": False, "reason": "nobody compiled them"}


def test_what_figures_depend_on() -> None:
    here = this_machine(torch.device("cpu"), torch.float32)
    assert (here.device, here.torch, here.threads) == ("cpu", torch.__version__, torch.get_num_threads())
    assert here.gemm_flops_per_second > 1e8
    assert torch.__version__.startswith(versions()["torch"])
