"""Which back end computes a recurrence, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import torch

from lsseq.nn.cells.gru import GRUCell
from lsseq.nn.cells.rnn import RNNCell
from lsseq.nn.checks import check_member
from lsseq.nn.kernels import cpu, cuda, hierarchy
from lsseq.nn.kernels.cpu import fast_slow, hm, mogrifier, rhn
from lsseq.nn.kernels.factors import Factors
from lsseq.nn.kernels.fast_slow import FastSlowKernel
from lsseq.nn.kernels.hierarchy import HMKernel
from lsseq.nn.kernels.layer import Kernel
from lsseq.nn.kernels.mogrifier import MogrifierKernel
from lsseq.nn.kernels.mogrifier import reference as reference_mogrifier
from lsseq.nn.kernels.reference import loop, lstm
from lsseq.nn.kernels.rhn import RHNKernel
from lsseq.nn.kernels.rhn import reference as reference_rhn

BACKENDS = ("auto", "cudnn", "fused", "reference")

_DESCRIPTIONS = {
    "cudnn": "PyTorch's own kernels: cuDNN on CUDA, oneDNN or ATen on CPU",
    "reference": "a loop over the steps in plain PyTorch operations",
}


class Fused(Protocol):
    """The fused kernels of a kind of device."""

    unserved: tuple[str, ...]
    """Options of the recurrences that they do not serve, as a user writes them."""

    def description(self) -> str:
        """What they are, where they can be used."""

    def obstacle(self, dtype: torch.dtype) -> str | None:
        """Why they cannot be used here, or None."""

    def kernel(self, recurrence: str) -> Kernel:
        """The kernel of a recurrence."""


FUSED: dict[str, Fused] = {"cpu": cpu, "cuda": cuda}
"""By type of device."""

_REFERENCE: dict[str, Kernel] = {"LSTM": lstm, "GRU": loop(GRUCell), "RNN": loop(RNNCell)}

_HM_FUSED: dict[str, HMKernel] = {"cpu": hm.kernel}
_RHN_FUSED: dict[str, RHNKernel] = {"cpu": rhn.kernel}
_MOGRIFIER_FUSED: dict[str, MogrifierKernel] = {"cpu": mogrifier.kernel}
_FAST_SLOW_FUSED: dict[str, FastSlowKernel] = {"cpu": fast_slow.kernel}

_DEVICES: dict[str, Collection[str]] = {
    "HMLSTM": _HM_FUSED,
    "RHN": _RHN_FUSED,
    "MogrifierLSTM": _MOGRIFIER_FUSED,
    "FastSlow": _FAST_SLOW_FUSED,
}
"""The types of device with fused kernels of a recurrence, where they are not all of `FUSED`."""


@dataclass(frozen=True)
class Request:
    """What is to be computed, as far as the choice of a back end depends on it."""

    recurrence: str
    backend: str
    """The one asked for."""
    beyond_vendor: tuple[str, ...]
    """Options that PyTorch's kernels cannot serve, as a user writes them."""
    vendor_only: tuple[str, ...]
    """What nothing but PyTorch's kernels can serve."""
    beyond_fused: tuple[str, ...] = field(default=(), kw_only=True)
    """What the fused kernels cannot serve of their recurrence."""
    device: str
    """Type of the device."""
    dtype: torch.dtype
    traced: bool = False
    """Whether autocast, a compiler or a transform follows the call, which needs PyTorch's operations."""
    transformed: bool = False
    """Whether it is a transform of `torch.func`, which PyTorch's kernels cannot always serve either."""
    factors: Factors | None = None
    """Of hidden-to-hidden weights of low rank."""
    input_factors: tuple[Factors, ...] = ()
    """Of input-to-hidden weights of low rank, those of each layer."""


@dataclass(frozen=True)
class Choice:
    """The back end that is taken, and the reason in words."""

    backend: str
    reason: str
    composed: bool = False
    """Whether hidden-to-hidden weights of low rank are composed to whole matrices, once a call."""
    composed_inputs: tuple[bool, ...] = ()
    """The same of input-to-hidden weights of low rank, those of each layer."""


@lru_cache(maxsize=4096)
def choose(request: Request) -> Choice:
    """The back end for a request.

    Raises:
        ValueError: no back end, or not the one asked for, can serve it, or there is none of this name; it says why.
    """
    choice = _back_end(request)
    composed = [factors.composed(choice.backend, request.device) for factors in _all_factors(request)]
    reasons = dict.fromkeys([choice.reason, *(reason for _, reason in composed)])
    inputs = tuple(whole for whole, _ in composed[len(composed) - len(request.input_factors) :])
    hidden = request.factors is not None and composed[0][0]
    return Choice(choice.backend, "; ".join(reasons), hidden, inputs)


def _all_factors(request: Request) -> list[Factors]:
    return [*([] if request.factors is None else [request.factors]), *request.input_factors]


def _back_end(request: Request) -> Choice:
    backend = request.backend
    check_member("backend", backend, BACKENDS)
    beyond, only = ", ".join(request.beyond_vendor), ", ".join(request.vendor_only)
    if beyond and only:
        raise ValueError(f"{only} is served by PyTorch's own kernels only, which cannot serve {beyond}")
    if backend == "cudnn" and beyond:
        raise ValueError(f"backend='cudnn': PyTorch's own kernels cannot serve {beyond}; use 'auto' or 'reference'")
    if backend in ("fused", "reference") and only:
        raise ValueError(f"backend='{backend}': {only} is served by PyTorch's own kernels only; use 'auto' or 'cudnn'")
    if backend in ("cudnn", "reference"):
        return Choice(backend, "as requested")
    if only:
        return Choice("cudnn", f"nothing else serves {only}")
    if backend == "auto" and request.transformed:
        return Choice("reference", "a transform of torch.func follows the call")
    if backend == "auto" and not beyond and request.device != "cpu":
        return Choice("cudnn", "no option asks for more")
    obstacle = _obstacle(request)
    if backend == "fused":
        if obstacle:
            raise ValueError(f"backend='fused': {obstacle}; use 'auto' or 'reference'")
        return Choice(backend, "as requested")
    if beyond:
        reason = f"PyTorch's own kernels cannot serve {beyond}"
        return Choice("reference", f"{reason}, and {obstacle}") if obstacle else Choice("fused", reason)
    if obstacle:
        return Choice("cudnn", "no option asks for more")
    return _faster(request)


def kernel(recurrence: str, backend: str, device: str) -> Kernel:
    """The kernel of a recurrence; those of the vendor have another signature (`vendor.py`)."""
    return FUSED[device].kernel(recurrence) if backend == "fused" else _REFERENCE[recurrence]


def hm_kernel(backend: str, device: str) -> HMKernel:
    """The kernel of the HM-LSTM."""
    return _HM_FUSED[device] if backend == "fused" else hierarchy.reference


def rhn_kernel(backend: str, device: str) -> RHNKernel:
    """The kernel of the recurrent highway network."""
    return _RHN_FUSED[device] if backend == "fused" else reference_rhn


def mogrifier_kernel(backend: str, device: str) -> MogrifierKernel:
    """The kernel of the Mogrifier LSTM."""
    return _MOGRIFIER_FUSED[device] if backend == "fused" else reference_mogrifier


def fast_slow_kernel(device: str) -> FastSlowKernel:
    """The fused kernel of the fast-slow network, whose reference is a loop over its cells, whatever these are."""
    return _FAST_SLOW_FUSED[device]


def describe(backend: str, device: str) -> str:
    """What a back end is, in words."""
    return FUSED[device].description() if backend == "fused" else _DESCRIPTIONS[backend]


def _faster(request: Request) -> Choice:
    """Between PyTorch's kernels and the fused ones on a CPU where both can serve; measured by `lsseq bench`."""
    if not all(factors.composed("fused", request.device)[0] for factors in _all_factors(request)):
        return Choice("fused", "PyTorch's own kernels know no factors")
    return Choice("fused", "faster here than PyTorch's own kernels")


def _obstacle(request: Request) -> str | None:
    """Why the fused kernels cannot serve a request."""
    if request.device not in FUSED:
        return f"there are no fused kernels for {request.device}"
    if request.traced:
        return "the fused kernels serve neither autocast nor tracing nor torch.func"
    if request.device not in _DEVICES.get(request.recurrence, FUSED):
        return f"there is no fused {request.recurrence} for {request.device}"
    unserved = FUSED[request.device].unserved
    beyond = [*request.beyond_fused, *(option for option in request.beyond_vendor if option in unserved)]
    if beyond:
        return f"the fused kernels cannot serve {', '.join(beyond)}"
    return FUSED[request.device].obstacle(request.dtype)
