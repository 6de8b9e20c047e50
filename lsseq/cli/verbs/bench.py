"""`lsseq bench`"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from lsseq.cli.common import json_option, print_json, say
from lsseq.errors import RequestError

if TYPE_CHECKING:
    from lsseq.measure.bench import Row
    from lsseq.measure.case import Case, Shape
    from lsseq.measure.machine import Machine
    from lsseq.measure.stacks import StackCase

_CELLS = ("LSTM", "GRU", "RNN", "HMLSTM", "RHN", "MogrifierLSTM", "FastSlow")
_STACKS = ("stochastic-depth", "swapout", "swapout-step", "drop-path", "locked-dropout")
_OPTIONS = (
    *("zoneout_cell", "zoneout_hidden", "recurrent_dropout", "weight_dropout"),
    *("rank", "input_rank", "diagonal", "tied_rank", "norm", "reset"),
    *("boundary_rates", "gradient", "depth", "rounds", "fast"),
)
_SIZES = ("input", "hidden", "layers", "batch", "steps")


def _size(name: str, letter: str, text: str) -> Callable[..., Any]:
    return click.option(name, type=click.IntRange(1), metavar=letter, help=text)


def _rate(name: str, text: str) -> Callable[..., Any]:
    return click.option(name, type=click.FloatRange(0, 1), metavar="RATE", help=text)


def _rates(context: click.Context, parameter: click.Parameter, text: str | None) -> list[float] | None:
    """0.3,0.1 as numbers."""
    kind = click.FloatRange(0, 1)
    return None if text is None else [float(kind(part, parameter, context)) for part in text.split(",")]


@click.command(
    short_help="Time recurrences against torch.nn.",
    epilog="""\b
Examples:
  lsseq bench
  lsseq bench --cell LSTM --zoneout-cell 0.5 --zoneout-hidden 0.05 --hidden 1000 --input 50 --batch 32
  lsseq bench --cell LSTM --rank 128 --hidden 1024 --input 128 --batch 32
  lsseq bench --cell HMLSTM --boundary-rates 0.3,0.1 --norm layer --hidden 512 --input 128
  lsseq bench --stack all
  lsseq bench --stack swapout --cell GRU --hidden 128
  lsseq bench --grid --json > bench.json""",
)
@click.option("--cell", type=click.Choice(_CELLS), help="Only this one, with the options that follow.")
@click.option(
    "--stack",
    type=click.Choice(["all", *_STACKS]),
    help="Layers of the cell [default: LSTM] that are dropped or mixed, over the same stack without that noise.",
)
@_rate("--zoneout-cell", "Rate at which c keeps its old value (all but GRU, RNN, RHN).")
@_rate("--zoneout-hidden", "Rate at which h keeps its old value.")
@_rate("--recurrent-dropout", "Rate of dropping candidates (LSTM, GRU, RHN, MogrifierLSTM, FastSlow).")
@_rate("--weight-dropout", "Rate of dropping hidden-to-hidden weights.")
@click.option(
    "--rank",
    type=click.IntRange(1),
    metavar="R",
    help="Hidden-to-hidden matrices, of a MogrifierLSTM those of the gatings, of this rank.",
)
@click.option("--input-rank", type=click.IntRange(1), metavar="R", help="Input-to-hidden matrices of this rank.")
@click.option("--diagonal", is_flag=True, default=None, help="A diagonal beside them.")
@click.option("--tied-rank", is_flag=True, default=None, help="One factor for all gates.")
@click.option("--norm", type=click.Choice(["layer", "batch"]), help="Normalisation; batch: LSTM.")
@click.option("--reset", type=click.Choice(["after", "before"]), help="Where the reset gate acts (GRU).")
@click.option(
    "--boundary-rates",
    callback=_rates,
    metavar="RATE,RATE…",
    help="Forced boundaries of each layer but the top one (HMLSTM)  [default: 0.3,0.1]",
)
@click.option("--gradient", type=click.Choice(["product", "select"]), help="Of the boundaries (HMLSTM).")
@click.option("--depth", type=click.IntRange(1), metavar="K", help="Micro-layers (RHN)  [default: 4]")
@click.option("--rounds", type=click.IntRange(0), metavar="N", help="Gatings (MogrifierLSTM)  [default: 5]")
@click.option("--fast", type=click.IntRange(2), metavar="N", help="Fast cells (FastSlow)  [default: 2]")
@click.option(
    "--backend", type=click.Choice(["auto", "cudnn", "fused", "reference"]), default="auto", show_default=True
)
@_size("--input", "I", "Size of the input  [default: H]")
@_size("--hidden", "H", "Units of a layer  [default: 256]")
@_size(
    "--layers",
    "L",
    "[default: 1; of an HMLSTM one more than boundary rates; of a stack 8 with stochastic-depth, one block of three "
    "columns with drop-path, else 4]",
)
@_size("--batch", "B", "Sequences side by side  [default: 64]")
@_size("--steps", "T", "[default: 100]")
@click.option("--grid", is_flag=True, help="Many shapes, H 128 to 2048; for zoneout LSTM where no cell is given.")
@click.option("--pairs", type=click.IntRange(2), default=30, show_default=True, metavar="N", help="Pairs of runs.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads of the CPU  [default: torch's]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
)
@json_option
def command(
    cell: str | None,
    stack: str | None,
    backend: str,
    grid: bool,
    pairs: int,
    threads: int | None,
    device: str,
    dtype: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Time recurrences of lsseq.nn against their namesakes of torch.nn (LSTM, where there is none), in one process and
    in turn: forward in evaluation, and forward with backward in training. What is shown is the median of the ratios of
    neighbouring runs. With --stack the same of stacks with noise against those without.

    Without --cell a table of recurrences, without sizes at two shapes. A comparison ends after the pairs asked for, or
    after a minute. No back end is timed that deviates from the reference. With --threads 1 on a CPU it is the
    processor's time that counts, which other processes add little to.
    """
    options = {name: given[name] for name in _OPTIONS if given[name] is not None}
    sizes = {name: given[name] for name in _SIZES if given[name] is not None}
    if cell == "HMLSTM":
        options.setdefault("boundary_rates", [0.3, 0.1])
    if cell == "RHN":
        options.setdefault("depth", 4)
    if options and cell is None:
        raise RequestError(f"--{next(iter(options)).replace('_', '-')} needs --cell")
    if grid and sizes:
        raise RequestError(f"--grid and --{next(iter(sizes))} exclude each other: the grid has its own sizes")
    if stack is not None and grid:
        raise RequestError("--grid and --stack exclude each other: the grid is of single layers")
    if stack is not None and "input" in sizes:
        raise RequestError("--stack and --input exclude each other: layers of a stack read as many units as they have")
    if stack is not None and cell == "HMLSTM":
        raise RequestError("an HMLSTM is no layer of a stack: it is several layers itself")
    # Threads that spin while they wait take the processor from other processes. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    from lsseq.measure.bench import GRID, RECURRENCES, SHAPES, ZONEOUT, estimate_seconds, measure
    from lsseq.measure.case import Case, layers_of
    from lsseq.measure.machine import busy, choose_device, this_machine

    on, number = choose_device(device), getattr(torch, dtype)
    cases: list[Case] | list[StackCase]
    if stack is not None:
        names = _STACKS if stack == "all" else [stack]
        count = sizes.pop("layers", None)
        cases = _stacks(names, count, Case(cell or "LSTM", options, _shape(**sizes), backend, on, number))
    else:
        recurrences = [(cell, options)] if cell is not None else [ZONEOUT] if grid else RECURRENCES
        layers = {"layers": layers_of(options)}
        grid_shapes = [replace(shape, **layers) for shape in GRID]
        shapes = grid_shapes if grid else [_shape(**layers | sizes)] if sizes or cell is not None else SHAPES
        cases = [Case(name, with_, shape, backend, on, number) for name, with_ in recurrences for shape in shapes]
    for case in cases:
        case.ours()  # a wrong request is refused before anything is measured
    if threads is not None:
        torch.set_num_threads(threads)
    machine = this_machine(on, number)
    seconds = estimate_seconds(cases, pairs=pairs, speed=machine.gemm_flops_per_second)
    say(f"{len(cases)} row(s), all checked first; about {math.ceil(seconds / 60)} minute(s), or somewhat more")
    if warning := busy(machine.load, machine.threads):
        say(warning)
    if not as_json:
        _print_head(machine, "the same stack without noise" if stack is not None else "torch.nn")
    rows = []
    for row in measure(cases, pairs=pairs, speed=machine.gemm_flops_per_second):
        rows.append(row.values())
        if not as_json:
            _print_row(row)
    if as_json:
        print_json({**asdict(machine), "rows": rows})


def _shape(input: int | None = None, hidden: int = 256, batch: int = 64, steps: int = 100, layers: int = 1) -> Shape:
    from lsseq.measure.case import Shape

    return Shape(hidden if input is None else input, hidden, batch, steps, layers)


def _stacks(names: Sequence[str], layers: int | None, layer: Case) -> list[StackCase]:
    from lsseq.measure.stacks import COMPARISONS, StackCase

    return [StackCase(name, layer, layers or COMPARISONS[name].layers) for name in names]


def _print_head(machine: Machine, over: str) -> None:
    load = "" if machine.load is None else f", load {machine.load:.1f}"
    click.echo(
        f"{machine.device}: {machine.machine}; torch {machine.torch}; {machine.threads} thread(s){load}; "
        f"large matrix products {machine.gemm_flops_per_second / 1e9:,.0f} GFLOP/s\n"
        f"forward, training: time over {over}, median (quartiles); memory: peak over that of the same;\n"
        "GEMM: speed of the training step's products over that of large ones\n"
    )
    names = ("forward", "training")
    click.echo(
        f"{'layer':<50} {'back end':<10} {'I':>5} {'H':>5} {'L':>2} {'B':>4} {'T':>5} "
        f"{'  '.join(f'{name:>19}' for name in names)} {'tokens/s':>10} {'memory':>7} {'GEMM':>5}"
    )


def _print_row(row: Row) -> None:
    case, shape = row.case, row.case.shape
    ratios = (f"{one.median:.3f} ({one.low:.3f}-{one.high:.3f})" for one in (row.forward, row.train))
    memory = "" if row.memory_ratio is None else f"{row.memory_ratio:.2f}"
    click.echo(
        f"{case.name:<50} {row.backend:<10} {shape.input:>5} {shape.hidden:>5} {shape.layers:>2} {shape.batch:>4} "
        f"{shape.steps:>5} {'  '.join(f'{one:>19}' for one in ratios)} {row.tokens_per_second:>10,.0f} {memory:>7} "
        f"{row.gemm_fraction:>5.0%}"
    )
    if row.saved is not None:
        click.echo(
            f"  training computed {row.computed:.1%} of the layers, and saved {row.saved:.0%} of the others' time"
        )
