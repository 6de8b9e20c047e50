"""Times recurrent layers of lsseq.nn against their namesake in torch.nn.

    python benchmarks/recurrence.py
    python benchmarks/recurrence.py --cell LSTM --options '{"zoneout_cell": 0.5}' --batch 32 --hidden 1000

Both layers run in this process in turn, so that a busy machine slows both alike. What is printed are the quartiles of
the ratio of neighbouring runs, lsseq over torch: forward alone without gradients, and forward with backward.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import lsseq.nn as lnn

CASES: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("LSTM", {"backend": "reference"}),
    ("LSTM", {"zoneout_cell": 0.5, "zoneout_hidden": 0.05}),
    ("LSTM", {"recurrent_dropout": 0.25}),
    ("LSTM", {"weight_dropout": 0.5}),
    ("LSTM", {"norm": "layer"}),
    ("GRU", {}),
    ("GRU", {"zoneout_hidden": 0.1}),
    ("RNN", {}),
    ("RNN", {"zoneout_hidden": 0.1}),
]


def forward(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def train(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    def run() -> None:
        layer.zero_grad()
        layer(x)[0].sum().backward()

    return run


def ratios(ours: Callable[[], object], theirs: Callable[[], object], pairs: int) -> list[float]:
    """The time of `ours` over that of `theirs` in each pair, after one pair that does not count."""
    found = []
    for _ in range(pairs + 1):
        times = []
        for run in (ours, theirs):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
        found.append(times[0] / times[1])
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=["LSTM", "GRU", "RNN"], help="only this layer, with --options")
    parser.add_argument("--options", type=json.loads, default={}, help="options of the layer, as JSON")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    T, B, H = args.steps, args.batch, args.hidden
    print(
        f"torch {torch.__version__}, {args.threads} threads, T {T}, B {B}, I = H = {H}; quartiles of time over torch.nn"
    )
    print(f"{'layer':64} {'forward':>20} {'train':>20}")
    x = torch.randn(T, B, H)
    for cell, options in [(args.cell, args.options)] if args.cell else CASES:
        ours, theirs = getattr(lnn, cell)(H, H, **options), getattr(nn, cell)(H, H)
        columns = [
            " ".join(f"{q:6.3f}" for q in statistics.quantiles(ratios(make(ours, x), make(theirs, x), args.pairs)))
            for make in (forward, train)
        ]
        written = ", ".join(["", *(f"{name}={value!r}" for name, value in options.items())])
        print(f"{f'{cell}({H}, {H}{written})':64} {columns[0]} {columns[1]}", flush=True)


if __name__ == "__main__":
    main()
