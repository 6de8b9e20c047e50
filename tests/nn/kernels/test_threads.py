"""Threads inside a call and calls in several threads change nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from parity import FULL, PLAIN, Arguments, data, make, needs_kernels, results
from torch import Tensor

from lsseq.nn.kernels.cpu import kernel, native
from lsseq.nn.kernels.layer import Layer, Weights
from lsseq.nn.parts.transition import Dense
from lsseq.nn.random import Draws

pytestmark = needs_kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("size", [(5, 3, 1), (4, 7, 37), (3, 5, 130), (4, 0, 19)], ids=str)
@pytest.mark.parametrize(("cell", "options"), [*PLAIN, *FULL], ids=str)
def test_any_number_of_threads_gives_the_same_to_the_bit(
    cell: str, options: Arguments, size: tuple[int, int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native.compiled().has_threads():
        pytest.skip("PyTorch brings no OpenMP runtime that the kernels can use")
    steps, rows, units = size
    layer = make(cell, 4, units, dtype, **options)
    monkeypatch.setattr(native, "threads", lambda *_: 1)
    want = results(layer, "fused", *data(layer, steps, rows))
    for threads in (2, 3, 11):  # 11 are more than there are panels of units
        monkeypatch.setattr(native, "threads", lambda *_, n=threads: n)
        got = results(layer, "fused", *data(layer, steps, rows))
        assert all(torch.equal(got[name], value) for name, value in want.items())


def test_threads_follow_pytorchs_setting() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert native.threads(100, 64 * 256 * 256) == 2
        assert native.threads(1, 1) == 1
        torch.set_num_threads(1)
        assert native.threads(100, 64 * 256 * 256) == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_from_several_threads_at_once(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "threads", lambda *_: threads)
    H = 40

    def compute(seed: int) -> list[Tensor]:
        g = torch.Generator().manual_seed(seed)
        x, h, c = (torch.randn(*shape, generator=g) for shape in ((30, 6, H), (6, H), (6, H)))
        weights = [torch.randn(4 * H, H, generator=g).div_(8).requires_grad_() for _ in range(2)]
        layer = Layer(Weights(*map(Dense, weights)), Draws(seed), zoneout_cell=0.5, zoneout_hidden=0.1)
        found = []
        for _ in range(8):
            output, last = kernel("LSTM")(x, (h, c), layer)
            found += [output, *last, *torch.autograd.grad(output.square().sum(), weights)]
        return found

    alone = [compute(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(compute, range(4)))
    for got, want in zip(together, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
