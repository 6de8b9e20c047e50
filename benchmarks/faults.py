"""Kills and starves trainings, and shows that `--resume` loses nothing.

    python benchmarks/faults.py [--kills 100] [--faults 25] [--inputs 10000] [--seed 1]

A small training runs undisturbed once. Then it is disturbed in many ways, gone on with, and compared: every line of
metrics.jsonl but for times, the figures and the weights of both checkpoints must be the same to the bit. Between a
disturbance and the resume the folder is looked at: checkpoints are whole or absent. Losses are counted; the exit code
is 1 where there is one. Half of the kills come at random moments, half inside the writing of a file.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from disturbed import scenarios
from disturbed.course import Course, Lost

Scenario = Callable[[Course, random.Random, int], scenarios.Codes]


@dataclass(frozen=True)
class Row:
    """What a fault did."""

    name: str
    kind: str
    """`kills`, `faults` or `inputs`."""
    codes: scenarios.Codes
    loss: str | None
    seconds: float

    @property
    def times(self) -> int:
        return self.codes.total()


def plan(kills: int, faults: int, inputs: int, mounts: bool) -> list[tuple[Scenario, str, int]]:
    """The scenarios, what they count as, and how many times."""
    others: list[Scenario] = [scenarios.failing_calls, *([scenarios.full_disk, scenarios.read_only] if mounts else [])]
    others += [scenarios.clock_backwards, scenarios.together, scenarios.sigterm, scenarios.sigint_twice]
    return [
        (scenarios.kills, "kills", kills - kills // 2),
        (scenarios.kills_in_writes, "kills", kills // 2),
        *((scenario, "faults", faults) for scenario in others),
        (scenarios.damaged_files, "inputs", inputs),
    ]


def run(folder: Path, kills: int, faults: int, inputs: int, seed: int) -> Iterator[Row]:
    """Carry out the plan in an empty folder; a row as soon as it is known."""
    with data_in(folder / "data"):
        course = Course(folder)
        mounts = scenarios.can_mount(folder)
        if not mounts:
            print("note: no right to mount a disk: none is full or read-only", file=sys.stderr)
        for scenario, kind, times in plan(kills, faults, inputs, mounts):
            begin, loss = time.perf_counter(), None
            codes: scenarios.Codes = scenarios.Codes()
            try:
                codes = scenario(course, random.Random(f"{seed} {scenario.__name__}"), times)
            except Lost as lost:
                loss = str(lost)
            yield Row(scenario.__doc__ or "", kind, codes, loss, time.perf_counter() - begin)


@contextmanager
def data_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("LSSEQ_DATA")
    os.environ["LSSEQ_DATA"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("LSSEQ_DATA")
        if before is not None:
            os.environ["LSSEQ_DATA"] = before


def table(rows: Sequence[Row]) -> str:
    """The rows, and what they come to."""
    lines = [f"{'fault':<64}{'times':>7}{'losses':>8}{'seconds':>9}  exit codes"]
    for row in rows:
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(row.codes.items()))
        lines.append(f"{row.name:<64}{row.times:>7}{int(row.loss is not None):>8}{row.seconds:>9.1f}  {codes}")
    sums = ", ".join(f"{sum(row.times for row in rows if row.kind == kind)} {kind}" for kind in ("kills", "faults"))
    inputs = sum(row.times for row in rows if row.kind == "inputs")
    losses = sum(row.loss is not None for row in rows)
    lines.append(f"{sums}, {inputs} inputs, {losses} losses, {sum(row.seconds for row in rows):.0f} s")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--faults", type=int, default=25, help="times of each other fault")
    parser.add_argument("--inputs", type=int, default=10_000, help="damaged files that are read")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in run(Path(folder), options.kills, options.faults, options.inputs, options.seed):
            rows.append(row)
            print(row.loss or f"{row.name}: {row.times}", file=sys.stderr, flush=True)
    print(table(rows))
    sys.exit(any(row.loss is not None for row in rows))


if __name__ == "__main__":
    main()
