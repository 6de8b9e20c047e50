"""Which back end computes a recurrence, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lsseq.nn.cells.gru import GRUCell
from lsseq.nn.cells.lstm import LSTMCell
from lsseq.nn.cells.rnn import RNNCell
from lsseq.nn.kernels.layer import Kernel
from lsseq.nn.kernels.reference import loop

BACKENDS = ("auto", "cudnn", "fused", "reference")

KERNELS: dict[tuple[str, str], Kernel] = {
    ("LSTM", "reference"): loop(LSTMCell),
    ("GRU", "reference"): loop(GRUCell),
    ("RNN", "reference"): loop(RNNCell),
}
"""The kernels of this project, by recurrence and back end; those of the vendor have another signature (`vendor.py`)."""

DESCRIPTIONS = {
    "cudnn": "PyTorch's own kernels: cuDNN on CUDA, oneDNN or ATen on CPU",
    "reference": "a loop over the steps in plain PyTorch operations",
}


@dataclass(frozen=True)
class Choice:
    """The back end that is taken, and the reason in words."""

    backend: str
    reason: str


_PLAIN = Choice("cudnn", "no option asks for more")


def choose(recurrence: str, backend: str, beyond_vendor: Sequence[str], vendor_only: Sequence[str]) -> Choice:
    """The back end for a recurrence.

    `beyond_vendor` lists, as a user writes them, the options that PyTorch's kernels cannot serve; `vendor_only` those
    that nothing else can serve. Raises ValueError, saying why, for a request that no back end or not the one asked
    for can serve.
    """
    if backend == "auto" and not beyond_vendor:
        return _PLAIN
    beyond, only = ", ".join(beyond_vendor), ", ".join(vendor_only)
    if backend == "fused" and (recurrence, "fused") not in KERNELS:
        raise ValueError(f"backend='fused': no fused kernel exists for {recurrence}; use 'auto' or 'reference'")
    if beyond and only:
        raise ValueError(f"{only} is served by PyTorch's own kernels only, which cannot serve {beyond}")
    if backend == "cudnn" and beyond:
        raise ValueError(f"backend='cudnn': PyTorch's own kernels cannot serve {beyond}; use 'auto' or 'reference'")
    if backend in ("fused", "reference") and only:
        raise ValueError(f"backend='{backend}': {only} is served by PyTorch's own kernels only; use 'auto' or 'cudnn'")
    if backend != "auto":
        return Choice(backend, "as requested")
    return Choice(
        "reference", f"PyTorch's own kernels cannot serve {beyond}, and no fused kernel exists for {recurrence}"
    )
