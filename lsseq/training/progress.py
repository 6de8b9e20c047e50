"""What a person sees while a model trains: a bar on a terminal, a line at each evaluation elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from lsseq.training.budget import Budget
    from lsseq.training.state import Figures, LoopState

HEADLINES = ("bpb", "bpc", "perplexity", "accuracy", "mse", "nll")
"""The first of them that there is is shown: of bytes what papers quote for them, bits a byte."""


def headline(figures: Figures) -> str:
    """The figure that people look at: bits per character or byte, else perplexity."""
    name = next(name for name in HEADLINES if figures.get(name) is not None)
    return f"{name} {number(figures[name])}"


def number(value: float, decimals: int = 4) -> str:
    """A figure for people: so many decimals, but six digits where it is too large for them to say anything."""
    return f"{value:.{decimals}f}" if abs(value) < 1e6 else f"{value:.6g}"


def duration(seconds: float) -> str:
    """`4 s`, `12 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Detectors:
    """Watches the boundary detectors of a model that has some."""

    LINES = 10
    """A detector is stuck when it fired never, or always, in so many train lines."""

    def __init__(self) -> None:
        self._stuck: dict[tuple[int, str], int] = {}

    def rates(self, line: Figures) -> str:
        """The boundary rates of a line, for people; nothing where there are none."""
        rates = line.get("boundary_rate")
        return " · boundaries " + " ".join(f"{rate:.2f}" for rate in rates) if rates else ""

    def warnings(self, line: Figures) -> list[str]:
        """What is to be said after a train line: once of each detector that is stuck."""
        said = []
        for layer, rate in enumerate(line.get("boundary_rate", ()), start=1):
            for word, stuck in (("never", rate < 1e-4), ("always", rate > 1 - 1e-4)):
                seen = self._stuck.get((layer, word), 0)
                self._stuck[layer, word] = seen + 1 if stuck or seen >= self.LINES else 0
                if stuck and seen + 1 == self.LINES:
                    said.append(
                        f"the boundary detector of layer {layer} fires {word} (by step {line['step']}); "
                        "a prior on its rate (model.boundary.prior) or another slope can free it"
                    )
        return said


class Progress:
    """Shows how far a training is, on standard error.

    Args:
        budget: tells how much is left.
        stream: where to; a bar is drawn only where it is a terminal.
        silent: nothing is shown.
    """

    def __init__(self, budget: Budget, stream: TextIO | None = None, *, silent: bool = False) -> None:
        self._budget = budget
        self._silent = silent
        self._stream = stream if stream is not None else sys.stderr
        self._bar: Any = None
        self._task: Any = None
        self._figures = ""
        self._speed = ""
        self._detectors = Detectors()

    def __enter__(self) -> Progress:
        if self._stream.isatty() and not self._silent:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.description}"),
                TimeRemainingColumn(compact=True), TextColumn("left"),
            )  # fmt: skip
            # Twice a second is enough for eyes and costs the training nothing that can be measured.
            self._bar = Bar(*columns, console=Console(file=self._stream), refresh_per_second=2, transient=True)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stepped(self, state: LoopState) -> None:
        """After each step."""
        if self._bar is not None:
            text = f"step {state.step}{self._figures}{self._speed}"
            self._bar.update(self._task, completed=self._budget.done(state), description=text)

    def warned(self, what: str) -> None:
        """When something is to be said that is no error."""
        self._print(f"warning: {what}")

    def logged(self, line: Figures) -> None:
        """After a train line."""
        self._speed = f" · {line['tokens_per_second']:,.0f} tokens/s{self._detectors.rates(line)}"
        for warning in self._detectors.warnings(line):
            self.warned(warning)

    def evaluated(self, state: LoopState) -> None:
        """After an evaluation."""
        figures = state.latest
        assert figures is not None
        best = state.best is figures
        self._figures = f" · valid {headline(figures)}"
        seconds = state.clock.total()
        done = self._budget.done(state)
        left = f", about {duration(seconds / done - seconds)} left" if 0.0 < done < 1.0 else ""
        speed = state.tokens / max(state.clock.training(), 1e-9)
        self._print(
            f"step {state.step}, epoch {state.epoch}: valid {headline(figures)}{' (best)' if best else ''}, "
            f"{speed:,.0f} tokens/s, {duration(seconds)}{left}"
        )

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        elif not self._silent:
            print(text, file=self._stream, flush=True)
