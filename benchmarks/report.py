"""Writes docs/performance.md from what `lsseq bench --json` and `benchmarks/draws.py --json` printed.

lsseq bench --json > table.json
lsseq bench --grid --json > grid.json
lsseq bench --stack all --batch 32 --threads 1 --json > stacks.json
python benchmarks/draws.py --threads 1 --json > draws.json
python benchmarks/report.py table.json grid.json stacks.json draws.json > docs/performance.md
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
- RHN, MogrifierLSTM, HMLSTM: over `LSTM` with as many layers. Boundaries of an HMLSTM are forced at the
  given rates; all layers' outputs and, through the boundaries, the detectors get gradients. Its floating point
  operations are those that these boundaries ask for.
- tokens/s: of training, T·B a step.
- memory: peak of training over that of `torch.nn`.
- GEMM: the floating point operations of the training step's matrix products over the time of the step, as a share of
  the speed that the machine reaches with large matrix products. What is missing to 100% is all else: products of few
  rows, pointwise work, masks, memory.
- back end: in training; where it is another in evaluation, that one stands first.
- No back end is timed that deviates from the reference.
- stack: layers that are dropped or mixed in training, over the same stack without that noise: stochastic depth that
  drops layers for the whole batch and freezes their state, swapout with one mask a call and with one a step, drop-path
  in a fractal of three columns, locked dropout between the layers. Computed is the share of the layers that training
  computed, saved the time that was saved over what the others would have taken.
- noise: K draws of a language model's noise, as `lsseq eval --samples K` reads a text with them, over one plain pass
  over K copies of the text as one batch (`benchmarks/draws.py`).
- With one thread of a CPU times are the processor's, which other processes add little to.
"""

STACK_COLUMNS = ("stack", "layer", "I", "H", "L", "B", "T", "forward", "training", "computed", "saved", "memory")
DRAW_COLUMNS = ("noise", "V", "H", "K", "draws, ms", "over one plain pass")
COLUMNS = ("layer", "back end", "I", "H", "L", "B", "T", "forward", "training", "tokens/s", "memory", "GEMM")


def report(measurements: Sequence[dict[str, Any]]) -> str:
    """The page, from JSON objects; a section for each machine, PyTorch and number of threads."""
    machines: dict[str, list[dict[str, Any]]] = {}
    for measured in measurements:
        machines.setdefault(title(measured), []).append(measured)
    return "\n".join([INTRODUCTION, *(section(name, together) for name, together in machines.items())])


def title(measured: dict[str, Any]) -> str:
    """What was measured on."""
    threads = f"{measured['threads']} thread{'s' if measured['threads'] > 1 else ''}"
    return f"{measured['device']}: {measured['machine']}, PyTorch {measured['torch']}, {threads}"


def section(name: str, together: Sequence[dict[str, Any]]) -> str:
    """The tables of what was measured on one machine, and the means of layers with several shapes."""
    # What slowed the large products of one measurement down is no property of the machine: the fastest are its limit.
    limit = max(measured["gemm_flops_per_second"] for measured in together)
    rows = [
        {**row, "gemm_fraction": row["gemm_fraction"] * measured["gemm_flops_per_second"] / limit}
        for measured in together
        for row in measured.get("rows", [])
    ]
    layers, stacks = ([row for row in rows if ("stack" in row) is stacked] for stacked in (False, True))
    draws = [row for measured in together for row in measured.get("draws", [])]
    loads = [measured["load"] for measured in together if measured["load"] is not None]
    load = f"; load before, the measuring itself included: at most {max(loads):.1f}" if loads else ""
    lines = [
        f"## {name}",
        "",
        f"Large matrix products: {limit / 1e9:,.0f} GFLOP/s{load}.",
        "",
        *table(COLUMNS, [cells(row) for row in layers]),
        *means(layers),
        *table(STACK_COLUMNS, [stack_cells(row) for row in stacks]),
        *table(DRAW_COLUMNS, [draw_cells(row) for row in draws]),
    ]
    return "\n".join(lines)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table and an empty one; none where there are no rows."""
    return [line(columns), line(["---"] * len(columns)), *map(line, rows), ""] if rows else []


def line(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def layer_of(row: dict[str, Any]) -> str:
    """Cell and options; the number format where it is not float32."""
    options = [f"{option} {value}" for option, value in row["options"].items()]
    return ", ".join([row["cell"], *options, *([] if row["dtype"] == "float32" else [row["dtype"]])])


def cells(row: dict[str, Any]) -> list[str]:
    backends = dict.fromkeys([row["forward_backend"], row["backend"]])
    speed = f"{row['tokens_per_second']:,.0f}"
    return [layer_of(row), ", ".join(backends), *measured_cells(row), speed, memory(row), f"{row['gemm_fraction']:.0%}"]


def stack_cells(row: dict[str, Any]) -> list[str]:
    shares = [f"{row[name]:.0%}" if name in row else "" for name in ("computed", "saved")]
    return [row["stack"], layer_of(row), *measured_cells(row), *shares, memory(row)]


def draw_cells(row: dict[str, Any]) -> list[str]:
    sizes = (f"{row[size]:,}" for size in ("vocabulary", "hidden", "samples"))
    return [row["noise"], *sizes, f"{1000 * row['seconds']:,.0f}", spread(row["median"], row["low"], row["high"])]


def measured_cells(row: dict[str, Any]) -> list[str]:
    """The sizes and both ratios."""
    sizes = (str(row[size]) for size in ("input", "hidden", "layers", "batch", "steps"))
    return [*sizes, *(spread(row[f"{pass_}_ratio"], *row["spread"][pass_]) for pass_ in ("forward", "train"))]


def spread(median: float, low: float, high: float) -> str:
    return f"{median:.2f} ({low:.2f}–{high:.2f})"


def memory(row: dict[str, Any]) -> str:
    return "" if row["memory_ratio"] is None else f"{row['memory_ratio']:.2f}"


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
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what they printed")
    files = parser.parse_args().files
    print(report([json.loads(file.read_text(encoding="utf-8")) for file in files]), end="")


if __name__ == "__main__":
    main()
