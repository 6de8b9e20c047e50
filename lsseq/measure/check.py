"""Every back end of every recurrence against the reference and against `torch.nn`: what `lsseq doctor` looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from lsseq.errors import RequestError
from lsseq.measure.case import Case, Shape, layers_of
from lsseq.measure.machine import without_tf32
from lsseq.measure.parity import Deviation, measure_deviation
from lsseq.measure.timing import Ratio, compare, forward, train
from lsseq.nn.kernels.dispatch import Choice

RECURRENCES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("LSTM", {}),
    ("LSTM", {"zoneout_cell": 0.5, "zoneout_hidden": 0.05}),
    ("LSTM", {"recurrent_dropout": 0.25}),
    ("LSTM", {"weight_dropout": 0.5}),
    ("LSTM", {"rank": 16, "diagonal": True}),
    ("LSTM", {"rank": 64}),
    ("LSTM", {"rank": 16, "input_rank": 16, "tied_rank": True}),
    ("LSTM", {"norm": "layer"}),
    ("GRU", {}),
    ("GRU", {"zoneout_hidden": 0.1}),
    ("GRU", {"reset": "before"}),
    ("GRU", {"norm": "layer"}),
    ("RNN", {}),
    ("RNN", {"zoneout_hidden": 0.1}),
    ("RNN", {"norm": "layer"}),
    ("HMLSTM", {"boundary_rates": [0.3, 0.1]}),
    ("HMLSTM", {"boundary_rates": [0.3, 0.1], "gradient": "select"}),
    ("HMLSTM", {"boundary_rates": [0.3, 0.1], "norm": "layer"}),
    ("HMLSTM", {"boundary_rates": [0.3, 0.1], "rank": 16}),
    ("RHN", {"depth": 4, "zoneout_hidden": 0.1}),
    ("RHN", {"depth": 4, "rank": 16, "norm": "layer"}),
    ("MogrifierLSTM", {"rank": 16}),
    ("FastSlow", {"zoneout_cell": 0.5, "zoneout_hidden": 0.05}),
    ("LSTM", {"norm": "batch"}),
)
"""Each cell with each option that changes its steps."""

_SHAPE = Shape(96, 128, batch=24, steps=40)
"""What is timed, and checked."""
_WIDER = Shape(33, 161, batch=19, steps=9)
"""What is checked too, as kernels may do small layers in another way; those for CUDA do (`kernels/cuda/launch.py`)."""
_PAIRS, _LIMIT = 5, 1.0
_BACKENDS = ("cudnn", "fused", "reference")
_TYPES = {
    "cpu": (torch.float32, torch.float64),
    "cuda": (torch.float32, torch.float64, torch.bfloat16, torch.float16),
}


@dataclass(frozen=True)
class BackEnd:
    """A back end of a recurrence, checked and timed."""

    name: str
    refusal: str | None = None
    """Why it cannot serve the recurrence; nothing else is known then."""
    deviations: Mapping[str, Deviation] = field(default_factory=dict)
    """By number format, the tensor that is furthest off."""
    crashes: Mapping[str, str] = field(default_factory=dict)
    """By number format, the error that it raised."""
    forward: Ratio | None = None
    train: Ratio | None = None
    """Time over `torch.nn` in float32; None where something is wrong."""

    @property
    def failures(self) -> list[str]:
        """What is wrong with it."""
        return [
            *(f"{format}: {one}" for format, one in self.deviations.items() if not one.met),
            *(f"{format}: it raised {what}" for format, what in self.crashes.items()),
        ]

    def values(self) -> dict[str, Any]:
        """An entry of `backends` in `lsseq doctor --json`."""
        if self.refusal is not None:
            return {"available": False, "reason": self.refusal}
        errors = {format: asdict(one) for format, one in self.deviations.items()}
        values: dict[str, Any] = {"available": True, "ok": not self.failures, "errors": errors}
        if self.crashes:
            values["crashes"] = dict(self.crashes)
        for name, ratio in (("forward_ratio", self.forward), ("train_ratio", self.train)):
            if ratio is not None:
                values[name] = ratio.median
        return values


@dataclass(frozen=True)
class Recurrence:
    """A recurrence on a device: what `auto` takes, and how every back end does."""

    case: Case
    training: Choice
    evaluation: Choice
    backends: tuple[BackEnd, ...]

    def values(self) -> dict[str, Any]:
        """An entry of `recurrences` in `lsseq doctor --json`."""
        return {
            **self.case.what(),
            "device": self.case.device.type,
            "auto": {
                name: {"backend": choice.backend, "reason": choice.reason}
                for name, choice in (("training", self.training), ("evaluation", self.evaluation))
            },
            "backends": {backend.name: backend.values() for backend in self.backends},
        }


def check_recurrences(device: torch.device) -> Iterator[Recurrence]:
    """Check and time every recurrence of `RECURRENCES` on a device, one after the other."""
    for cell, options in RECURRENCES:
        case = Case(cell, options, replace(_SHAPE, layers=layers_of(options)), device=device)
        layer = case.ours()
        yield Recurrence(
            case,
            layer.choose_backend(training=True),
            layer.choose_backend(training=False),
            tuple(_check(replace(case, backend=backend)) for backend in _BACKENDS),
        )


def _check(case: Case) -> BackEnd:
    refusal = _refusal(case)
    if refusal is not None:
        return BackEnd(case.backend, refusal=refusal)
    deviations, crashes = {}, {}
    for dtype in _TYPES[case.device.type]:
        typed, format = replace(case, dtype=dtype), str(dtype).removeprefix("torch.")
        if _refusal(typed) is None:
            try:
                shapes = (typed.shape, replace(_WIDER, layers=typed.shape.layers))
                both = [measure_deviation(replace(typed, shape=shape)) for shape in shapes]
                deviations[format] = max(both, key=lambda one: one.error / one.tolerance)
            except Exception as error:  # a kernel may fail to compile for a device: that is what is looked for
                crashes[format] = f"{type(error).__name__}: {error}".partition("\n")[0]
    found = BackEnd(case.backend, deviations=deviations, crashes=crashes)
    if found.failures:
        return found
    ours, theirs, x = case.ours(), case.theirs(), case.sequence()
    with without_tf32():
        forward_ratio, train_ratio = (
            compare(run(ours, x), run(theirs, x), case.device, pairs=_PAIRS, limit=_LIMIT) for run in (forward, train)
        )
    return replace(found, forward=forward_ratio, train=train_ratio)


def _refusal(case: Case) -> str | None:
    """Why the back end cannot serve the case, or None."""
    try:
        case.ours()
    except RequestError as error:
        return error.message
    return None
