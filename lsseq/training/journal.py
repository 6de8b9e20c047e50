"""The lines of metrics.jsonl, and the same figures for TensorBoard where it is installed."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsseq.runs import Metrics, RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_NOT_FIGURES = ("step", "epoch", "split")
_FLUSH_SECONDS = 1
"""How often TensorBoard's thread looks up by itself. A KeyboardInterrupt inside `Condition.notify` can lose the call
that would wake it for the end, which then waits as long; two minutes by TensorBoard's default."""


class Journal:
    """Writes the lines of a training.

    Args:
        folder: the run.
        position: bytes of metrics.jsonl that belong to the checkpoint from which training goes on.
        step: the step of that checkpoint; what TensorBoard was told of later steps is withdrawn.
    """

    def __init__(self, folder: RunFolder, position: int, step: int) -> None:
        self._metrics = Metrics(folder.metrics, position)
        self._board = _board(folder, step)

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line with `step`, `epoch`, `split` and figures: numbers, or lists of them."""
        self._metrics.append(line)
        if self._board is None:
            return
        for name, value in line.items():
            values = value if isinstance(value, list) else [value]
            for number, single in enumerate(values):
                if name not in _NOT_FIGURES and single is not None and math.isfinite(single):
                    tag = f"{line['split']}/{name}" + (f"/{number}" if isinstance(value, list) else "")
                    self._board.add_scalar(tag, single, line["step"])

    def sync(self) -> int:
        """Force what was written to the disk; the bytes of metrics.jsonl so far."""
        if self._board is not None:
            self._board.flush()
        return self._metrics.sync()

    def close(self) -> None:
        self._metrics.close()
        if self._board is not None:
            self._board.close()


class Silence(Journal):
    """Takes the lines of a process that is not to write them."""

    def __init__(self) -> None:
        pass

    def write(self, line: Mapping[str, Any]) -> None:
        pass

    def sync(self) -> int:
        return 0

    def close(self) -> None:
        pass


def _board(folder: RunFolder, step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    except Exception as error:
        # One that was built for another protobuf or numpy may raise nearly anything, and no training needs it.
        print(f"note: TensorBoard is broken and gets no figures: {error}", file=sys.stderr)
        return None
    if not isinstance(threading.excepthook, _WriterHook):
        threading.excepthook = _WriterHook(threading.excepthook)
    return SummaryWriter(str(folder.tensorboard), purge_step=step + 1, flush_secs=_FLUSH_SECONDS)


@dataclass(frozen=True)
class _WriterHook:
    """TensorBoard writes in a thread, and raises what fails there, as on a full disk, again at the next call: that the
    thread ends needs no traceback. It may end after the call, even after the training, so that this hook stays."""

    other: Callable[[threading.ExceptHookArgs], object]

    def __call__(self, failure: threading.ExceptHookArgs) -> None:
        handed_on = isinstance(failure.exc_value, OSError) and "tensorboard" in type(failure.thread).__module__
        if not handed_on:
            self.other(failure)
