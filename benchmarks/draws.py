"""What `lsseq eval --samples K` takes: K draws of a model's noise over one plain pass over K copies of the text as one
batch.

    python benchmarks/draws.py [--samples 8] [--vocabulary V …] [--hidden 256] [--tokens 1000] [--pairs 30]
                               [--threads N] [--noise NAME …] [--json]

Both read random tokens in windows of 200, with all that `lsseq eval` computes of them: the draws with the means of the
probabilities, the geometric mean and the disagreement, the plain pass with the nll. What is shown is the median of the
ratios of neighbouring runs and their quartiles. The plain pass that `lsseq eval --samples` makes beside is left out:
its own time stands in `deterministic.seconds`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported

import numpy as np
import torch

from lsseq.cli.memory import keep_freed_memory
from lsseq.data.batches import evaluation_windows
from lsseq.evaluation.draws import draw
from lsseq.evaluation.mixture import MixtureReader
from lsseq.evaluation.perplexity import evaluating
from lsseq.evaluation.reading import Reader, StaticReader, read_all
from lsseq.measure.machine import this_machine
from lsseq.measure.timing import Ratio, compare
from lsseq.model.factory import build_model
from lsseq.model.language_model import LanguageModel
from lsseq.recipe.schema import Model

CPU, WINDOW, LIMIT = torch.device("cpu"), 200, 60.0
NOISE: dict[str, dict[str, Any]] = {
    "zoneout": {"zoneout": {"cell": 0.5, "hidden": 0.05}},
    "swapout": {"layers": 4, "stack": {"kind": "residual", "swapout": {}}},
    "stochastic depth": {"layers": 4, "stack": {"kind": "residual", "stochastic_depth": {"over": "batch"}}},
    "drop-path": {"stack": {"kind": "fractal", "columns": 3, "drop_path": {}}},
    "locked dropout": {"layers": 4, "dropout": {"hidden": 0.25, "output": 0.25, "mask": "sequence"}},
    "dropped words": {"embedding": 128, "dropout": {"embedding": 0.1}},
    "dropped weights": {"dropout": {"weight": 0.5}},
}
"""Models by the name of their noise: LSTMs, alone or in stacks. The last can only be read draw by draw."""


def reading(
    model: LanguageModel, make: Callable[[], Reader], tokens: np.ndarray[Any, Any], streams: int
) -> Callable[[], object]:
    """Reads tokens with a new reader."""

    def run() -> None:
        with evaluating(model):
            read_all(make(), evaluation_windows(tokens, 0, streams=streams, window=WINDOW), CPU)

    return run


def measure(noise: str, V: int, hidden: int, length: int, samples: int, pairs: int) -> Ratio:
    """K draws of a text over one pass over K copies of it."""
    model = build_model(Model.model_validate({"hidden": hidden, **NOISE[noise]}), V)
    text = np.random.default_rng(0).integers(V, size=length)
    draws = reading(model, lambda: MixtureReader(draw(model, samples, 0, CPU), "samples"), text, 1)
    copies = reading(model, lambda: StaticReader(model), np.tile(text, samples), samples)
    return compare(draws, copies, CPU, pairs=pairs, limit=LIMIT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[50, 10_000])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--noise", nargs="+", choices=list(NOISE), default=list(NOISE), metavar="NAME")
    parser.add_argument("--json", action="store_true", help="for benchmarks/report.py")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    machine = this_machine(CPU, torch.float32)
    if not options.json:
        print(f"torch {machine.torch}, {machine.threads} thread(s), H {options.hidden}, K {options.samples}\n")
        print("| noise | V | draws, ms | over one plain pass |\n|---|---|---|---|")
    rows = []
    for V in options.vocabulary:
        for noise in options.noise:
            ratio = measure(noise, V, options.hidden, options.tokens, options.samples, options.pairs)
            rows.append(
                {"noise": noise, "vocabulary": V, "hidden": options.hidden, "samples": options.samples, **asdict(ratio)}
            )
            if not options.json:
                spread = f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"
                print(f"| {noise} | {V:,} | {1000 * ratio.seconds:.0f} | {spread} |", flush=True)
    if options.json:
        print(json.dumps({**asdict(machine), "draws": rows}))


if __name__ == "__main__":
    main()
