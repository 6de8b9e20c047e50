"""A layer's tensors and options, given to the CUDA kernels and to the reference: on a GPU where there is one, else in
Triton's interpreter (see conftest.py)."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from lsseq.nn.kernels import cuda, dispatch
from lsseq.nn.kernels.layer import Gains, Layer, States, Weights
from lsseq.nn.parts.transition import Dense
from lsseq.nn.random import Draws

HAS_TRITON = find_spec("triton") is not None and int(version("triton").partition(".")[0]) >= 3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="Triton 3 is not installed (pip install triton)")

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
RECURRENCES = [("LSTM", ""), ("GRU", "after"), ("GRU", "before"), ("RNN", "tanh"), ("RNN", "relu")]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, ROWS, INPUT, UNITS = 5, 3, 4, 7


class Problem:
    """Random tensors for a layer: `tensors` in the order x, states, parameters, each of which wants a gradient."""

    def __init__(
        self,
        recurrence: str,
        variant: str,
        sizes: tuple[int, int, int] = (STEPS, ROWS, UNITS),
        *,
        dtype: torch.dtype = F64,
        bias: bool = True,
        norm: bool = False,
        training: bool = True,
        zoneout: tuple[float, float] = (0.5, 0.2),
        dropout: float = 0.25,
        first_row: int = 0,
        every_step: bool = False,
        seed: int = 0,
    ) -> None:
        T, B, H = sizes
        self.recurrence, self.bias, self.norm = recurrence, bias, norm
        self.generator = torch.Generator().manual_seed(seed)
        self.states = 2 if recurrence == "LSTM" else 1
        rows = GATES[recurrence] * H
        shapes = [(T, B, INPUT), *[(B, H)] * self.states, (rows, INPUT), (rows, H), *[(rows,)] * (2 * bias)]
        if norm:
            shapes += [(rows,), (rows,), *[(H,)] * ((1 + bias) * (recurrence == "LSTM"))]
        self.tensors = [self.random(*shape).mul_(0.5).to(dtype).requires_grad_() for shape in shapes]
        self.options = {
            "draws": Draws(key=2**62 + 12345, layer=1, first_row=first_row) if training else None,
            "zoneout_cell": zoneout[0] if recurrence == "LSTM" else 0.0,
            "zoneout_hidden": zoneout[1],
            "recurrent_dropout": dropout if recurrence != "RNN" else 0.0,
            "variant": variant,
            "every_step": every_step,
        }

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=F64).to(DEVICE)

    def run(self, backend: str) -> tuple[Tensor, ...]:
        """The output and the last states, or the states of every step."""
        x, *rest = self.tensors
        states: States = tuple(rest[: self.states])
        weights, gains = rest[self.states :], None
        if self.norm:
            number = 2 + 2 * self.bias
            weights, gains = weights[:number], Gains(*weights[number:])
        layer = Layer(Weights(*map(Dense, weights[:2]), *weights[2:]), gains=gains, **self.options)
        kernel = cuda.kernel(self.recurrence) if backend == "fused" else dispatch.kernel(self.recurrence, backend, "")
        output, last = kernel(x, states, layer)
        return output, *last

    def gradients(self, results: tuple[Tensor, ...], seed: int = 1) -> tuple[Tensor, ...]:
        """Of a random linear function of the results."""
        self.generator.manual_seed(seed)
        loss = torch.stack([(result * self.random(*result.shape)).sum() for result in results]).sum()
        return torch.autograd.grad(loss, self.tensors)


def assert_same(got: tuple[Tensor, ...], want: tuple[Tensor, ...], tolerance: float) -> None:
    """Equal up to a part of the largest value, in value, shape and type."""
    for mine, theirs in zip(got, want, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        scale = theirs.abs().max().item() if theirs.numel() else 0.0
        torch.testing.assert_close(mine, theirs, rtol=0.0, atol=tolerance * scale)


def check(problem: Problem, tolerance: float) -> None:
    """Outputs, last states and every gradient against the reference."""
    got, want = problem.run("fused"), problem.run("reference")
    assert_same(got, want, tolerance)
    assert_same(problem.gradients(got), problem.gradients(want), tolerance)
