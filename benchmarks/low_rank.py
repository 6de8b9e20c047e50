"""Low-rank weights in the CPU's kernels: factor by factor against composed once a call, over their relative cost.

    python benchmarks/low_rank.py [--cell LSTM] [--of state|input] [--sizes 256 512 1024] [--batch 32] [--pairs 15]

The cost is what `lsseq.nn.kernels.factors` counts. The choice that `auto` makes is right while the two ways are even at
costs near its `CHEAPER`. Training steps of both alternate in one process; the ratio is the median over neighbouring
pairs. With `--of input` the state's matrix is whole and its product a part of both times.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from dataclasses import replace

import torch
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.kernels import factors
from lsseq.nn.kernels.dispatch import choose
from lsseq.nn.kernels.factors import Factors
from lsseq.nn.recurrent import Recurrent

COSTS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS = 30


def nearest_rank(like: Factors, cost: float) -> int:
    """The rank whose cost is nearest to the one asked for, of those that a matrix can have."""
    costs = {rank: replace(like, rank=rank).cost for rank in range(1, like.units + 1)}
    return min(costs, key=lambda rank: abs(costs[rank] - cost))


def seconds(layer: Recurrent, x: Tensor, *, composed: bool) -> float:
    """Of one training step, the one way or the other."""
    factors.CHEAPER = 0.0 if composed else float("inf")
    choose.cache_clear()
    begin = time.perf_counter()
    output = layer(x)[0]
    output.backward(torch.ones_like(output))
    layer.zero_grad()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=list(GATES), default="LSTM")
    parser.add_argument("--of", choices=["state", "input"], default="state", help="which weights are of low rank")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], metavar="H", help="units, and inputs")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s), {options.cell}, {options.of}, T {STEPS}\n")
    print("|     H |    B | R      |  rank | cost | factor by factor / composed |\n|---|---|---|---|---|---|")
    for size, tied in itertools.product(options.sizes, (False, True)):
        columns = size if options.of == "input" else None
        like = Factors(GATES[options.cell], size, 1, tied, columns=columns, states=STEPS * options.batch)
        for rank in dict.fromkeys(nearest_rank(like, cost) for cost in COSTS):
            ranks = {"rank" if options.of == "state" else "input_rank": rank}
            layer = getattr(lnn, options.cell)(size, size, tied_rank=tied, backend="fused", **ranks)
            x = torch.randn(STEPS, options.batch, size, requires_grad=True)
            both = [
                seconds(layer, x, composed=False) / seconds(layer, x, composed=True) for _ in range(options.pairs + 1)
            ]
            cost, ratio = replace(like, rank=rank).cost, statistics.median(both[1:])
            shared = "shared" if tied else "own"
            print(
                f"| {size:>5} | {options.batch:>4} | {shared:<6} | {rank:>5} | {cost:.2f} | {ratio:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
