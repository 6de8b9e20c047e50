"""The fused back end on CUDA: pointwise kernels in Triton around cuBLAS products.

The products with the input and the gradients of the weights are one product each for all steps. Between them, a layer
is one launch in either pass: the kernel multiplies the state with the weights itself, and its programs, one on each
multiprocessor, wait for each other after each step. With layer norm, in float64, for a GRU that resets before the
product, a layer or batch too large for that and Triton before 3.2, there is one product and one kernel a step (two of
each for that GRU, and PyTorch's layer norm where that is asked for), each launched by itself: no CUDA graph is
captured. `launch.py` chooses; the kernels are the same.

Tests compare the results with the reference on a GPU where there is one, else in Triton's interpreter on a CPU
(TRITON_INTERPRET=1), whose programs run one after the other, so that each step is a launch there. docs/kernels.md says
what was measured on which GPU. `obstacle` tries whether Triton works at all; `lsseq doctor` compares the results on the
machine at hand, those of small layers and of larger ones.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch

from lsseq.nn.kernels.layer import Kernel
from lsseq.nn.random import Draws, Kind, bernoulli

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Of inputs, weights and products; gates and cells are computed, and cells kept, in float32 at least."""

unserved: tuple[str, ...] = ("norm='batch'",)


def description() -> str:
    """What the kernels are."""
    return "this project's kernels in Triton"


def obstacle(dtype: torch.dtype) -> str | None:
    """Why the kernels cannot be used here, or None. Triton is imported, and tried, by the first call."""
    if dtype not in TYPES:
        return f"the CUDA kernels compute in floating point of 16 to 64 bits, not {str(dtype).removeprefix('torch.')}"
    return _failure()


def kernel(recurrence: str) -> Kernel:
    """The kernel of a recurrence: LSTM, GRU or RNN."""
    from lsseq.nn.kernels.cuda import sequence

    return sequence.kernel(recurrence)


@cache
def _failure() -> str | None:
    """Why Triton does not work here, or None: it also needs a GPU that it knows and a C compiler."""
    if find_spec("triton") is None:
        return "Triton is not installed (PyTorch for CUDA on Linux brings it; else: pip install triton)"
    try:
        from triton import __version__ as version

        if int(version.partition(".")[0]) < 3:
            return f"the CUDA kernels need Triton 3, and this is {version}"
        from lsseq.nn.kernels.cuda.masks import Masks, draw

        device = "cuda" if torch.cuda.is_available() else "cpu"
        masks = Masks.of(Draws(key=1), (0.5, 0.0, 0.0), device, torch.float32)
        drawn = draw(masks, Kind.ZONEOUT_CELL, *(shape := (3, 4, 65))).cpu()
        right = torch.equal(drawn.bool(), bernoulli(1, 0, Kind.ZONEOUT_CELL, 0.5, *shape))
    except Exception as error:  # whatever a compiler or a driver may raise; the reason is passed on
        return f"Triton does not work here ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})"
    return None if right else "Triton computes wrong masks here"
