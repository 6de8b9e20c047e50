"""What a person sees during training."""

from __future__ import annotations

import io
import math

import pytest
from toys import toy_state, toy_training

from lsseq.training.budget import Budget
from lsseq.training.meter import Clock
from lsseq.training.progress import Detectors, Progress, duration, headline
from lsseq.training.state import LoopState


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class StoppedClock(Clock):
    """Half a minute, however long the test takes."""

    def total(self) -> float:
        return 30.0


def measured_state() -> tuple[LoopState, Budget]:
    training = toy_training(steps=40)
    state = toy_state(training)
    state.step, state.tokens, state.epoch = 10, 30_000, 1
    state.latest = state.best = {"step": 10, "nll": 0.7, "bpc": 1.01}
    state.clock = StoppedClock()
    return state, Budget(training)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (725, "12 min 5 s"), (12_000, "3 h 20 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_headline_prefers_bits() -> None:
    assert headline({"nll": 0.7, "perplexity": 2.0, "bpc": 1.0}) == "bpc 1.0000"
    assert headline({"nll": 0.7, "perplexity": 2.0}) == "perplexity 2.0000"
    assert headline({"nll": 0.7, "perplexity": 2.0, "bpb": 1.0, "bpc": None}) == "bpb 1.0000"


def test_a_plain_line_at_each_evaluation() -> None:
    state, budget = measured_state()
    stream = io.StringIO()
    with Progress(budget, stream) as progress:
        progress.stepped(state)
        progress.logged({"tokens_per_second": 1000.0})
        assert stream.getvalue() == ""
        progress.evaluated(state)
    assert (
        stream.getvalue() == "step 10, epoch 1: valid bpc 1.0100 (best), 1,000 tokens/s, 30 s, about 1 min 30 s left\n"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(114.5, "114.5000"), (999_999.0, "999999.0000"), (1.25e6, "1.25e+06"), (math.exp(700), "1.01423e+304"),
     (math.inf, "inf"), (math.nan, "nan")],
)  # fmt: skip
def test_a_figure_never_fills_the_line(value: float, shown: str) -> None:
    assert headline({"perplexity": value}) == f"perplexity {shown}"


def test_a_bar_on_a_terminal() -> None:
    state, budget = measured_state()
    stream = Terminal()
    with Progress(budget, stream) as progress:
        progress.logged({"tokens_per_second": 1234.0})
        progress.evaluated(state)
        progress.stepped(state)
        progress._bar.refresh()
    shown = stream.getvalue()
    assert "25 %" in shown
    assert "step 10 · valid bpc 1.0100 · 1,234 tokens/s" in shown


def test_a_stuck_detector_is_said_once() -> None:
    detectors = Detectors()
    said = []
    for step in range(1, 41):
        rates = [0.3, 0.0 if step > 5 else 0.2, 1.0]
        said.append(detectors.warnings({"step": step, "boundary_rate": rates}))
    assert [step for step, warnings in enumerate(said, start=1) if warnings] == [10, 15]
    assert said[9] == [
        "the boundary detector of layer 3 fires always (by step 10); "
        "a prior on its rate (model.boundary.prior) or another slope can free it"
    ]
    assert "layer 2 fires never (by step 15)" in said[14][0]
    assert detectors.rates({"boundary_rate": [0.25, 1.0]}) == " · boundaries 0.25 1.00"
    assert detectors.rates({"step": 1}) == ""
    assert detectors.warnings({"step": 1}) == []
