"""The training loop: a step, then what is done once in a while.

It knows a model only as a `SequenceModel`, data only as `TrainingWindows`, validation only as a function of the model.
"""

from __future__ import annotations

import errno
import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from lsseq.errors import Interrupted, RunError
from lsseq.evaluation.figures import FIGURES
from lsseq.model.base import SequenceModel
from lsseq.recipe.schema import Training
from lsseq.runs import RunFolder, write_checkpoint
from lsseq.training.budget import Budget
from lsseq.training.interrupt import Stop
from lsseq.training.journal import Journal, Silence
from lsseq.training.progress import Progress
from lsseq.training.state import Figures, LoopState
from lsseq.training.step import check_sums, diverged, make_step

Evaluate = Callable[[SequenceModel], Figures]
"""The figures F of the validation split, for a model in evaluation mode."""

_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def train(
    state: LoopState, training: Training, evaluate: Evaluate, folder: RunFolder, progress: Progress, stop: Stop
) -> None:
    """Train from `state` until the budget is used up; lines, figures and checkpoints go to `folder`.

    Of several processes the one that leads writes them, and all save and end after the same step.

    Raises:
        RunError: the loss or the gradient is not finite, or the disk is full; the checkpoints are from before it.
        Interrupted: somebody asked to stop; the state was saved after the step that was under way.
    """
    budget = Budget(training)
    together = state.processes
    with _disk_full_named(folder), progress, closing(_journal(state, folder)) as journal:
        state.final = None
        state.model.train()
        while not together.any(budget.ended(state)):
            make_step(state, training)
            stopping = together.any(stop.requested)
            progress.stepped(state)

            if budget.log_due(state):
                line = _train_line(state, training)
                journal.write(line)
                progress.logged(line)
                state.meter.reset(state.clock.training())

            if budget.evaluation_due(state):
                figures = _evaluate(state, training, evaluate, journal, folder)
                error = figures[state.model.objective]
                state.schedule.evaluated(error)
                state.averaging.evaluated(error)
                state.patience.evaluated(error)
                progress.evaluated(state)

            if stopping or budget.checkpoint_due(state):
                _save(state, training, journal, folder)

            if stopping:
                raise Interrupted(
                    f"interrupted after step {state.step}; the state was saved",
                    hint=f"go on with: {_resuming(folder)}",
                )

        # The lines from here on are no part of the state that is saved: a run that goes on with a larger budget cuts
        # them off again and continues as if it had never stopped.
        state.metrics_bytes = journal.sync()
        if state.meter.steps:
            journal.write(_train_line(state, training))
        if state.latest is None or state.latest["step"] != state.step:
            _evaluate(state, training, evaluate, journal, folder)
            progress.evaluated(state)
        state.final = state.latest
        journal.sync()
        write_last(state, folder)


def _journal(state: LoopState, folder: RunFolder) -> Journal:
    return Journal(folder, state.metrics_bytes, state.step) if state.processes.lead else Silence()


def _train_line(state: LoopState, training: Training) -> dict[str, Any]:
    error, norm = check_sums(state, training)
    seconds = state.clock.training() - state.meter.since
    return {
        "step": state.step,
        "epoch": state.epoch,
        "split": "train",
        state.model.objective: error,
        "lr": state.lr,
        "tokens_per_second": state.meter.tokens / max(seconds, 1e-9),
        "seconds": state.clock.total(),
        "grad_norm": norm,
        **{name: value.tolist() for name, value in state.told.items()},
    }


def _evaluate(state: LoopState, training: Training, evaluate: Evaluate, journal: Journal, folder: RunFolder) -> Figures:
    """Measure the model on the validation split and keep it where it is the best so far."""
    check_sums(state, training)
    with state.clock.aside():
        state.model.eval()
        with state.averaging.applied():
            measured = evaluate(state.model)
        state.model.train()
        figures = {name: measured[name] for name in FIGURES if name in measured}
        error = figures[(objective := state.model.objective)]
        if not math.isfinite(error):
            raise diverged(training, f"the validation {objective} after step {state.step} is {error}")
        state.latest = {"step": state.step, **figures}
        journal.write(
            {"step": state.step, "epoch": state.epoch, "split": "valid", **figures, "seconds": state.clock.total()}
        )
        if state.best is None or error < state.best[objective]:
            state.best = state.latest
            if state.processes.lead:
                write_checkpoint(folder.checkpoint("best"), {"weights": state.weights()}, state.values())
    return figures


def _save(state: LoopState, training: Training, journal: Journal, folder: RunFolder) -> None:
    check_sums(state, training)
    with state.clock.aside():
        state.metrics_bytes = journal.sync()
        write_last(state, folder)


def write_last(state: LoopState, folder: RunFolder) -> None:
    """Write the checkpoint from which the training goes on; all processes must call this."""
    tensors, values = state.save()
    if state.processes.lead:
        write_checkpoint(folder.checkpoint("last"), tensors, values)


@contextmanager
def _disk_full_named(folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise RunError(
            f"the disk is full: {error.filename or folder} could not be written",
            hint=f"free some room, then go on from the last checkpoint with: {_resuming(folder)}",
        ) from error


def _resuming(folder: RunFolder) -> str:
    return f"lsseq train --run {shlex.quote(str(folder))} --resume"
