"""Recurrences timed against their namesakes in `torch.nn`, and stacks with noise against those without: the rows of
`lsseq bench`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lsseq.measure.case import Case, Shape
from lsseq.measure.machine import without_tf32
from lsseq.measure.memory import peak_bytes
from lsseq.measure.parity import require_parity
from lsseq.measure.stacks import Calls, StackCase
from lsseq.measure.timing import WARM_UP, Ratio, compare, forward, train

ZONEOUT = ("LSTM", {"zoneout_cell": 0.5, "zoneout_hidden": 0.05})

RECURRENCES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("LSTM", {}),
    ZONEOUT,
    ("LSTM", {"recurrent_dropout": 0.25}),
    ("LSTM", {"norm": "layer"}),
    ("GRU", {}),
    ("GRU", {"zoneout_hidden": 0.1}),
    ("GRU", {"reset": "before"}),
    ("RNN", {}),
    ("RNN", {"zoneout_hidden": 0.1}),
    ("RHN", {"depth": 4}),
    ("MogrifierLSTM", {}),
    ("FastSlow", {}),
    ("LSTM", {"norm": "batch"}),
)
"""Cells and options that are measured where no cell is asked for."""

SHAPES = (Shape(256, 256, batch=64, steps=100), Shape(512, 512, batch=32, steps=100))
"""Shapes that are measured where none is asked for."""

_MIDDLE = Shape(512, 512, batch=32, steps=100)
GRID = (
    *(replace(_MIDDLE, input=hidden, hidden=hidden) for hidden in (128, 256, 512, 1024, 2048)),
    *(replace(_MIDDLE, batch=batch) for batch in (1, 8, 64, 128, 256)),
    *(replace(_MIDDLE, steps=steps) for steps in (50, 200, 1000)),
    Shape(128, 128, batch=1, steps=50),
    Shape(128, 128, batch=1, steps=1000),
    Shape(128, 128, batch=256, steps=50),
    Shape(2048, 2048, batch=1, steps=50),
    Shape(256, 256, batch=64, steps=100),
    Shape(50, 1000, batch=32, steps=100),
)
"""H 128 to 2048, B 1 to 256, T 50 to 1000: each varied about a middle, the corners that a CPU computes in reasonable
time, and an input smaller than the layer."""

LIMIT = 60.0
"""Seconds after which a comparison ends with fewer pairs than asked for."""


@dataclass(frozen=True)
class Row:
    """What was measured of a case."""

    case: Case | StackCase
    backend: str
    """The back end that was taken in training."""
    forward_backend: str
    """The one that was taken in evaluation."""
    forward: Ratio
    """Of the forward pass in evaluation, without gradients."""
    train: Ratio
    """Of forward and backward."""
    computed: float
    """Of the layers, the share that a training step computed; below 1 only where layers are dropped."""
    gemm_fraction: float
    """The training step's matrix products per second, as a fraction of what the machine reaches with large ones."""
    peak_bytes: int | None
    their_peak_bytes: int | None

    @property
    def memory_ratio(self) -> float | None:
        """None where it is not known."""
        return self.peak_bytes / self.their_peak_bytes if self.peak_bytes and self.their_peak_bytes else None

    @property
    def saved(self) -> float | None:
        """The time of training that was saved, as a share of what the layers that were not computed would have taken;
        None where all were."""
        return (1 - self.train.mean) / (1 - self.computed) if self.computed < 1 else None

    @property
    def tokens_per_second(self) -> float:
        """Of training steps."""
        return self.case.shape.steps * self.case.shape.batch / self.train.seconds

    def values(self) -> dict[str, Any]:
        """A row of `lsseq bench --json`."""
        shape = self.case.shape
        return {
            **self.case.what(),
            "backend": self.backend,
            "forward_backend": self.forward_backend,
            "dtype": str(_layer(self.case).dtype).removeprefix("torch."),
            "input": shape.input,
            "hidden": shape.hidden,
            "layers": shape.layers,
            "batch": shape.batch,
            "steps": shape.steps,
            "forward_ratio": self.forward.median,
            "train_ratio": self.train.median,
            "spread": {name: [ratio.low, ratio.high] for name, ratio in self._ratios.items()},
            "pairs": {name: ratio.pairs for name, ratio in self._ratios.items()},
            "tokens_per_second": self.tokens_per_second,
            "gemm_fraction": self.gemm_fraction,
            "peak_bytes": self.peak_bytes,
            "memory_ratio": self.memory_ratio,
            **({} if self.saved is None else {"computed": self.computed, "saved": self.saved}),
        }

    @property
    def _ratios(self) -> dict[str, Ratio]:
        return {"forward": self.forward, "train": self.train}


def measure(cases: Sequence[Case | StackCase], *, pairs: int, speed: float, limit: float = LIMIT) -> Iterator[Row]:
    """Measure cases one after the other, once the back ends of all of them are known to compute what they should.

    Args:
        cases: what is measured.
        pairs, limit: see `timing.compare`.
        speed: see `machine.product_speed`.

    Raises:
        RequestError: a back end cannot serve a case.
        RunError: a back end deviates from the reference.
    """
    for case in cases:
        require_parity(_layer(case))
    for case in cases:
        with without_tf32():
            row = _row(case, pairs, speed, limit)
        yield row


def estimate_seconds(cases: Sequence[Case | StackCase], *, pairs: int, speed: float, limit: float = LIMIT) -> float:
    """About how long `measure` takes, were all steps to reach six tenths of the speed of large matrix products."""
    total = 0.0
    for case in cases:
        for operations in (case.products, 3 * case.products):
            pair = 2 * operations / (0.6 * speed)
            total += 2 * pair + max(2 * pair, min(pairs * pair, limit))
    return total


def _layer(case: Case | StackCase) -> Case:
    """What is measured, or what it is made of."""
    return case.layer if isinstance(case, StackCase) else case


def _row(case: Case | StackCase, pairs: int, speed: float, limit: float) -> Row:
    layer, ours, theirs, x = _layer(case), case.ours(), case.theirs(), case.sequence()
    calls = Calls(ours)

    def timed(run: Callable[[nn.Module, Tensor], Callable[[], object]]) -> tuple[Ratio, float]:
        return compare(run(ours, x), run(theirs, x), layer.device, pairs=pairs, limit=limit), calls.take(WARM_UP)

    (forward_ratio, layers), (train_ratio, computed) = timed(forward), timed(train)
    # After the timing: a library that is used for the first time allocates what it keeps.
    peak, their_peak = (peak_bytes(make, case.sequence, layer.device) for make in (case.ours, case.theirs))
    chooser = layer.ours()
    with torch.no_grad():
        forward_backend = chooser.choose_backend(training=False, x=x).backend
    return Row(
        case=case,
        backend=chooser.choose_backend(training=True, x=x).backend,
        forward_backend=forward_backend,
        forward=forward_ratio,
        train=train_ratio,
        computed=computed / layers,
        gemm_fraction=3 * case.products * computed / layers / train_ratio.seconds / speed,
        peak_bytes=peak,
        their_peak_bytes=their_peak,
    )
