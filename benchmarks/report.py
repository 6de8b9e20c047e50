"""Writes docs/performance.md from what `lsseq bench --json` printed.

lsseq bench --json > table.json
lsseq bench --grid --json > grid.json
python benchmarks/report.py table.json grid.json > docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INTRODUCTION = """\
# Speed and memory of the recurrences

Written by `benchmarks/report.py` from what `lsseq bench` measured. `lsseq bench` gives the figures of your machine.

- forward, training: time over the layer of the same name in `torch.nn` at the same shape, in the same process: median
  of the ratios of neighbouring runs, and their quartiles. Forward is in evaluation, without gradients; training is
  forward and backward, with the gradient of the input. Below 1 is faster than `torch.nn`.
- HMLSTM: over `LSTM` with as many layers, with boundaries forced at the given rates; all layers' outputs and, through
  the boundaries, the detectors get gradients. Its floating point operations are those that these boundaries ask for.
- tokens/s: of training, T·B a step.
- memory: peak of training over that of `torch.nn`.
- GEMM: the floating point operations of the training step's matrix products over the time of the step, as a share of
  the speed that the machine reaches with large matrix products. What is missing to 100% is all else: products of few
  rows, pointwise work, masks, memory.
- back end: in training; where it is another in evaluation, that one stands first.
- No back end is timed that deviates from the reference.
"""

COLUMNS = ("layer", "back end", "I", "H", "L", "B", "T", "forward", "training", "tokens/s", "memory", "GEMM")


def report(measurements: Sequence[dict[str, Any]]) -> str:
    """The page, from JSON objects of `lsseq bench`; one table for each machine, PyTorch and number of threads."""
    machines: dict[str, list[dict[str, Any]]] = {}
    for measured in measurements:
        machines.setdefault(title(measured), []).append(measured)
    return "\n".join([INTRODUCTION, *(section(name, together) for name, together in machines.items())])


def title(measured: dict[str, Any]) -> str:
    """What was measured on."""
    threads = f"{measured['threads']} thread{'s' if measured['threads'] > 1 else ''}"
    return f"{measured['device']}: {measured['machine']}, PyTorch {measured['torch']}, {threads}"


def section(name: str, together: Sequence[dict[str, Any]]) -> str:
    """The table of what was measured on one machine, and the means of layers with several shapes."""
    # What slowed the large products of one measurement down is no property of the machine: the fastest are its limit.
    limit = max(measured["gemm_flops_per_second"] for measured in together)
    rows = [
        {**row, "gemm_fraction": row["gemm_fraction"] * measured["gemm_flops_per_second"] / limit}
        for measured in together
        for row in measured["rows"]
    ]
    loads = [measured["load"] for measured in together if measured["load"] is not None]
    load = f"; load before, the measuring itself included: at most {max(loads):.1f}" if loads else ""
    lines = [
        f"## {name}",
        "",
        f"Large matrix products: {limit / 1e9:,.0f} GFLOP/s{load}.",
        "",
        line(COLUMNS),
        line(["---"] * len(COLUMNS)),
        *(line(cells(row)) for row in rows),
        "",
    ]
    return "\n".join([*lines, *means(rows)])


def line(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def layer_of(row: dict[str, Any]) -> str:
    """Cell and options; the number format where it is not float32."""
    options = [f"{option} {value}" for option, value in row["options"].items()]
    return ", ".join([row["cell"], *options, *([] if row["dtype"] == "float32" else [row["dtype"]])])


def cells(row: dict[str, Any]) -> list[str]:
    backends = dict.fromkeys([row["forward_backend"], row["backend"]])
    ratios = []
    for pass_ in ("forward", "train"):
        low, high = row["spread"][pass_]
        ratios.append(f"{row[f'{pass_}_ratio']:.2f} ({low:.2f}–{high:.2f})")
    return [
        layer_of(row),
        ", ".join(backends),
        *(str(row[size]) for size in ("input", "hidden", "layers", "batch", "steps")),
        *ratios,
        f"{row['tokens_per_second']:,.0f}",
        "" if row["memory_ratio"] is None else f"{row['memory_ratio']:.2f}",
        f"{row['gemm_fraction']:.0%}",
    ]


def means(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each layer and back end that was measured at several shapes: the geometric means of its ratios."""
    layers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        layers.setdefault((layer_of(row), row["backend"]), []).append(row)
    lines = [
        f"- {layer} ({backend}), geometric mean of {len(of)} shapes: forward {mean(of, 'forward_ratio'):.2f}, "
        f"training {mean(of, 'train_ratio'):.2f}"
        for (layer, backend), of in layers.items()
        if len(of) > 1
    ]
    return [*lines, ""] if lines else []


def mean(rows: Sequence[dict[str, Any]], key: str) -> float:
    return statistics.geometric_mean(row[key] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="output of `lsseq bench --json`")
    files = parser.parse_args().files
    print(report([json.loads(file.read_text(encoding="utf-8")) for file in files]), end="")


if __name__ == "__main__":
    main()
