"""What the output layer costs forward and backward: lsseq's chunked softmax and its adaptive one over plain PyTorch.

    python benchmarks/output_layer.py [--pairs 30] [--seconds 60] [--threads 1] [--vocabulary V …] [--tokens N …]
                                      [--hidden H …]

The plain side is `F.linear` and `F.cross_entropy` over all logits. The sides take turns in one process, so that they
meet the same disturbances; a figure is the median of the ratios of neighbouring times, after `--pairs` of them or
`--seconds` for a shape. Peak memory is that of a fresh process that computes one side, over what it held before.
Targets follow Zipf's law, as words do. Freed memory is kept, as `lsseq train` does it.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lsseq.cli.memory import keep_freed_memory
from lsseq.model.output import AdaptiveSoftmax, FullSoftmax, OutputLayer

SIDES = ("plain", "chunked", "adaptive")
WARM_UP = 1
FEWEST = 3
"""Pairs that are measured however long they take."""


class Plain(FullSoftmax):
    """The output layer as anybody would write it."""

    def total_nll(self, features: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(features), targets, reduction="sum")


def build(side: str, V: int, H: int) -> OutputLayer:
    if side == "adaptive":
        layer: OutputLayer = AdaptiveSoftmax(V, H, [2000, 10000] if V > 10000 else [2000])
    else:
        layer = (Plain if side == "plain" else FullSoftmax)(V, H)
    layer.initialise(None)
    return layer


def prepare(side: str, V: int, N: int, H: int) -> Callable[[], None]:
    """Both passes of a side on the same features and targets."""
    torch.manual_seed(0)
    features = torch.randn(N, H).requires_grad_()
    targets = torch.multinomial(1 / torch.arange(1.0, V + 1), N, replacement=True)
    layer = build(side, V, H)

    def both_passes() -> None:
        features.grad = None
        layer.zero_grad()
        torch.autograd.backward(layer.total_nll(features, targets) / N)

    return both_passes


def time_sides(V: int, N: int, H: int, pairs: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each side, turn by turn."""
    sides = {side: prepare(side, V, N, H) for side in SIDES}
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    begin = time.perf_counter()
    for turn in range(WARM_UP + pairs):
        for side in SIDES if turn % 2 else reversed(SIDES):
            start = time.perf_counter()
            sides[side]()
            times[side].append(time.perf_counter() - start)
        if turn >= WARM_UP + FEWEST - 1 and time.perf_counter() - begin > seconds:
            break
    return {side: values[WARM_UP:] for side, values in times.items()}


def peak(side: str, V: int, N: int, H: int, threads: int) -> int:
    """Bytes that two times both passes need on top of the parameters, the features and the interpreter (Linux)."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    both_passes = prepare(side, V, N, H)
    prepare(side, 2001, 1, H)()  # what the libraries allocate once
    Path("/proc/self/clear_refs").write_text("5")  # the highest use so far is forgotten
    before = _highest_use()
    both_passes()
    both_passes()
    return _highest_use() - before


def _highest_use() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60.0, help="limit for a shape")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[10_000, 33_278])
    parser.add_argument("--tokens", type=int, nargs="+", default=[35 * 20, 70 * 80])
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 650])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    print(f"torch {torch.__version__}, {options.threads} thread(s); time over plain: median (quartiles); peak in MiB\n")
    print("| V | N | H | plain, ms | chunked | adaptive | pairs | peak plain | peak chunked | peak adaptive |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    fresh = multiprocessing.get_context("spawn")
    for V, N, H in itertools.product(options.vocabulary, options.tokens, options.hidden):
        times = time_sides(V, N, H, options.pairs, options.seconds)
        row = [f"{V:,}", f"{N:,}", f"{H}", f"{1000 * statistics.median(times['plain']):.0f}"]
        for side in SIDES[1:]:
            ratios = [one / other for one, other in zip(times[side], times["plain"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            row.append(f"{middle:.2f} ({low:.2f}–{high:.2f})")
        row.append(f"{len(times['plain'])}")
        for side in SIDES:
            with fresh.Pool(1) as pool:
                row.append(f"{pool.apply(peak, (side, V, N, H, options.threads)) / 2**20:,.0f}")
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
