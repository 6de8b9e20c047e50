"""A small training that is left alone once, and what others must be equal to that are not."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import torch

from disturbed.process import Command, Fault
from lsseq.errors import RunError
from lsseq.runs import RunFolder, read_checkpoint, read_metrics
from lsseq.runs.checkpoint import MANIFEST

RECIPE = """\
data: {{text: {text}}}
model:
  hidden: 16
  embedding: 8
  zoneout: {{cell: 0.5, hidden: 0.05}}
  dropout: {{input: 0.1, output: 0.2}}
training:
  batch: 8
  bptt: 20
  steps: {steps}
  log_every: 1
  checkpoint_every: 3
  evaluate_every: 10
  averaging: {{kind: ema, decay: 0.9}}
  device: cpu
  threads: 1
evaluation: {{window: 50}}
"""
GROUPS = ("weights", "training")


class Lost(Exception):  # noqa: N818 - it is no error but a finding
    """Something was lost, or said that is not so."""


class Course:
    """The training that was left alone.

    Args:
        folder: where all runs lie.
        steps: of each.
    """

    def __init__(self, folder: Path, steps: int = 30) -> None:
        self.folder = folder
        self._numbers = itertools.count()
        text = folder / "text.txt"
        text.write_bytes(_prose(20_000))
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(RECIPE.format(text=text, steps=steps), encoding="utf-8")
        # Twice, since the first one also does what is done once, such as reading the text.
        for _ in range(2):
            run, begin = self.new_run(), time.perf_counter()
            command = self.train(run)
            self.expect(command, {0})
            self.seconds = time.perf_counter() - begin
        self.calls = command.calls
        """The system calls it wrote files by."""
        self.lines = lines_of(run)
        self.checkpoints = {name: read_checkpoint(run.checkpoint(name), GROUPS[:1]) for name in ("best", "last")}
        self.size = sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())
        """Bytes of its files."""
        self.run = run

    def new_run(self) -> RunFolder:
        return RunFolder(self.folder / f"run-{next(self._numbers)}")

    def train(self, run: RunFolder, fault: Fault | None = None) -> Command:
        """Begin a run, or go on with it."""
        arguments = ["train", str(self.recipe), "--run", str(run), "--resume"]
        return self.command(arguments, fault)

    def command(self, arguments: list[str], fault: Fault | None = None) -> Command:
        return Command(arguments, self.folder / f"{next(self._numbers)}.log", fault)

    def expect(self, command: Command, codes: set[int], *said: str) -> int:
        """Wait for the end: with one of the exit codes, no traceback, and where it is not 0 these words."""
        code = command.wait(120.0)
        if code is None:
            command.wait_for_begin()
            raise Lost(f"it hangs: {command.said}")
        if code not in codes or "Traceback" in command.said:
            raise Lost(f"exit code {code}: {command.said}")
        if code > 0 and not all(words in command.said for words in said):
            raise Lost(f"it does not say {said}: {command.said}")
        return code

    def inspect(self, run: RunFolder) -> None:
        """Look at what a disturbed run has left: checkpoints are whole or absent, and lines those of this training.

        Raises:
            Lost: they are not.
        """
        for name in ("best", "last"):
            folder = run.checkpoint(name)
            if not (folder / MANIFEST).exists():
                continue
            try:
                groups = GROUPS if name == "last" else GROUPS[:1]
                tensors, values = read_checkpoint(folder, groups)
            except RunError as error:
                raise Lost(f"{folder}: {error.message}") from error
            if not all(tensor.isfinite().all() for tensor in tensors["weights"].values()):
                raise Lost(f"{folder}: weights that are not finite")
            if name == "last" and not self._has_lines(run, values):
                raise Lost(f"{run}: its lines up to step {values['step']} are others")
        lines = lines_of(run)
        if lines != self.lines[: len(lines)]:
            raise Lost(f"{run}: its lines are others")

    def _has_lines(self, run: RunFolder, values: dict[str, Any]) -> bool:
        """Whether a run has all lines up to its checkpoint, but that of an evaluation that is still to be made, and
        those of the end, which are no part of the state."""
        step = values["step"]
        pending = (step, "valid") if values["loop"]["to_evaluate"] else None
        sure = step if step == self.lines[-1]["step"] else step + 1
        expected = [line for line in self.lines if line["step"] < sure and (line["step"], line["split"]) != pending]
        return expected == [line for line in lines_of(run) if line["step"] < sure]

    def finish(self, run: RunFolder, fault: Fault | None = None) -> None:
        """Go on to the end and compare.

        Raises:
            Lost: it is not to the bit what the training came to that was left alone.
        """
        self.expect(self.train(run, fault), {0})
        if lines_of(run) != self.lines:
            raise Lost(f"{run}: other metrics")
        for name, (expected, values) in self.checkpoints.items():
            tensors, found = read_checkpoint(run.checkpoint(name), GROUPS[:1])
            if [found[key] for key in ("step", "best", "final")] != [values[key] for key in ("step", "best", "final")]:
                raise Lost(f"{run}: other figures in the checkpoint {name}")
            for weight, tensor in expected["weights"].items():
                if not torch.equal(tensors["weights"][weight], tensor):
                    raise Lost(f"{run}: another {weight} in the checkpoint {name}")


def lines_of(run: RunFolder) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what depends on the clock; none where there is no file yet."""
    if not run.metrics.exists():
        return []
    clock = ("seconds", "tokens_per_second")
    return [{name: value for name, value in line.items() if name not in clock} for line in read_metrics(run.metrics)]


def _prose(length: int) -> bytes:
    from pydoc_data.topics import topics

    return "".join(topics[name] for name in sorted(topics))[:length].encode("ascii", errors="replace")
