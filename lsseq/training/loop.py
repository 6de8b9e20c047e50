"""The training loop: a step, then what is done once in a while.

It knows a model only as a `SequenceModel`, data only as `TrainingWindows`, validation only as a function of the model.
"""

from __future__ import annotations

import errno
import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import Any

from lsseq.errors import Interrupted, RunError
from lsseq.evaluation.figures import FIGURES
from lsseq.model.base import SequenceModel
from lsseq.processes.group import Processes
from lsseq.recipe.schema import Training
from lsseq.runs import RunFolder, write_checkpoint
from lsseq.training.budget import Budget
from lsseq.training.interrupt import Stop, Stopped
from lsseq.training.journal import Journal, Silence
from lsseq.training.nonfinite import NonFiniteError, diverged
from lsseq.training.progress import Progress
from lsseq.training.state import Figures, LoopState
from lsseq.training.step import check_sums, make_step

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
        Interrupted: somebody asked to stop; the state was saved after the step that was under way. An evaluation that
            was under way is given up, and made when the run goes on.
    """
    budget = Budget(training)
    together = state.processes
    with _named(folder, together), progress, closing(_journal(state, folder)) as journal:
        state.clock.start()
        state.final = None
        state.model.train()
        while state.to_evaluate or not together.any(budget.ended(state)):
            if not state.to_evaluate:
                _step(state, training, folder, progress)
                progress.stepped(state)

                if budget.log_due(state):
                    line = _train_line(state, training)
                    journal.write(line)
                    progress.logged(line)
                    state.begin_line()

                state.to_evaluate = budget.evaluation_due(state)

            if state.to_evaluate:
                with suppress(Stopped):
                    figures = _evaluate(state, training, evaluate, journal, folder, stop)
                    error = figures[state.model.objective]
                    state.schedule.evaluated(error)
                    state.averaging.evaluated(error)
                    state.patience.evaluated(error)
                    progress.evaluated(state)
                    state.to_evaluate = False

            # Asked once: what is requested while this runs waits for the next step.
            stopping = together.any(stop.requested)
            if stopping or budget.checkpoint_due(state):
                _save(state, training, journal, folder)

            if stopping:
                raise _interrupted(state, folder)

        # The lines from here on are no part of the state that is saved: a run that goes on with a larger budget cuts
        # them off again and continues as if it had never stopped. Only an evaluation here that is the best stays so.
        state.metrics_bytes = journal.sync()
        if state.meter.steps:
            journal.write(_train_line(state, training))
        if state.latest is None or state.latest["step"] != state.step:
            try:
                _evaluate(state, training, evaluate, journal, folder, stop)
            except Stopped:
                write_last(state, folder)
                raise _interrupted(state, folder) from None
            progress.evaluated(state)
        state.final = state.latest
        journal.sync()
        write_last(state, folder)


def _journal(state: LoopState, folder: RunFolder) -> Journal:
    return Journal(folder, state.metrics_bytes, state.step) if state.processes.lead else Silence()


def _step(state: LoopState, training: Training, folder: RunFolder, progress: Progress) -> None:
    """Make a step, or leave one out that is not finite, where the recipe asks for it."""
    try:
        make_step(state, training)
    except NonFiniteError as fault:
        if training.nonfinite == "stop":
            raise
        state.skips.skip(fault)
        if state.processes.lead:
            progress.warned(f"{fault.what}: it was left out; {fault.keep(folder)}")
    else:
        state.skips.in_a_row = 0


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
        **({"skipped": state.skips.since_line} if training.nonfinite == "skip" else {}),
        **{name: value.tolist() for name, value in state.told.items()},
    }


def _evaluate(
    state: LoopState, training: Training, evaluate: Evaluate, journal: Journal, folder: RunFolder, stop: Stop
) -> Figures:
    """Measure the model on the validation split and keep it where it is the best so far.

    Raises:
        Stopped: somebody asked to stop before it was measured.
    """
    check_sums(state, training)
    with state.clock.aside():
        state.model.eval()
        try:
            # Of several processes none gives up alone: the others would wait for it.
            with state.averaging.applied(), stop.at_once() if state.processes.size == 1 else nullcontext():
                measured = evaluate(state.model)
        finally:
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


def _interrupted(state: LoopState, folder: RunFolder) -> Interrupted:
    return Interrupted(
        f"interrupted after step {state.step}; the state was saved", hint=f"go on with: {_resuming(folder)}"
    )


@contextmanager
def _named(folder: RunFolder, processes: Processes) -> Iterator[None]:
    """Errors that end a training say what is left of it, and how it goes on."""
    try:
        yield
    except NonFiniteError as fault:
        if processes.lead:
            fault.hint = f"{fault.hint}, and {fault.keep(folder)}"
        if fault.skippable:
            fault.hint = (
                f"{fault.hint}; without such steps it goes on with: {_resuming(folder)} training.nonfinite=skip"
            )
        raise
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted at once; nothing was saved since the last checkpoint",
            hint=f"go on from there with: {_resuming(folder)}",
        ) from None
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise RunError(
            f"the disk is full: {error.filename or folder} could not be written",
            hint=f"free some room, then go on from the last checkpoint with: {_resuming(folder)}",
        ) from error


def _resuming(folder: RunFolder) -> str:
    return f"lsseq train --run {shlex.quote(str(folder))} --resume"
