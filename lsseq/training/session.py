"""From a recipe and a run folder to a trained model: what `lsseq train` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from lsseq.data.text import refuse_changed
from lsseq.errors import RequestError, RunError
from lsseq.evaluation.figures import FIGURES
from lsseq.model.base import SequenceModel
from lsseq.model.cost import count_parameters
from lsseq.nn import explain
from lsseq.processes import place
from lsseq.processes.group import ALONE, Processes, joined
from lsseq.recipe import Loaded, dump_recipe, load_recipe
from lsseq.recipe.schema import Recipe
from lsseq.runs import RunFolder, read_checkpoint, write_checkpoint
from lsseq.runs.checkpoint import MANIFEST
from lsseq.runs.saved import saved
from lsseq.training.budget import Budget
from lsseq.training.device import MixedPrecision, choose_device
from lsseq.training.environment import environment, note_environment
from lsseq.training.interrupt import stop_on_signals
from lsseq.training.loop import train, write_last
from lsseq.training.paths import with_absolute_paths
from lsseq.training.progress import Progress
from lsseq.training.recalibration import recalibrate
from lsseq.training.resume import refuse_changes
from lsseq.training.state import Figures, LoopState
from lsseq.training.work import TextWork, Work, open_work

Value = TypeVar("Value")

_UNFIT = (RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
"""What fails where saved values are not those of this training."""


@dataclass(frozen=True)
class Result:
    """What a training came to; the keys of `lsseq train --json`, but for the last three."""

    run: str
    steps: int
    epochs: int
    seconds: float
    """From the first step on, of all sessions, evaluations included."""
    tokens_per_second: float
    """Training tokens, in a task the steps of its sequences, over the time without evaluations and saves."""
    parameters: int
    best: Figures | None
    final: Figures | None
    has_test: bool
    """The data have a test split."""
    is_text: bool
    """The model is a language model."""
    finished_before: bool = False
    """There was nothing left to do."""


def train_recipe(loaded: Loaded, path: Path, *, resume: bool = False, source: str | None = None) -> Result:
    """Train the model of a recipe in the run folder `path`.

    Where `torchrun` has started several processes, all of them call this and train one model together.

    Args:
        loaded: the recipe.
        path: must not exist, or be empty, unless `resume` is set.
        resume: go on where the run in `path` stopped, to the bit as if it had not; start where nothing was saved yet.
        source: a run from whose best weights a new run starts.

    Raises:
        RequestError: the folder is taken or in use, the device is missing, the text cannot be read, or a resumed run
            would not be the same training.
        RunError: the training diverged, the disk is full, or another process was lost.
        Interrupted: SIGINT or SIGTERM; the state was saved.
    """
    loaded = replace(loaded, recipe=with_absolute_paths(loaded.recipe))
    recipe = loaded.recipe
    with (
        _claimed(path, resume=resume) as folder,
        loaded.blame(),
        joined(choose_device(recipe.training.device)) as processes,
    ):
        saved = processes.any((folder.checkpoint("last") / MANIFEST).exists())
        if resume and not saved and folder.recipe.is_file() and processes.lead:
            print(f"note: {folder} has no checkpoint `last`; its training begins again", file=sys.stderr)
        if saved:
            refuse_changes(loaded, load_recipe(str(folder.recipe)).recipe, str(folder))
        written = dump_recipe(recipe)
        device = prepare_device(recipe)
        with processes.lead_first():
            work = open_work(recipe)
        state = build_state(recipe, work, device, processes)
        if saved:
            _restore(state, folder, work)
            if processes.any(state.final is not None and Budget(recipe.training).ended(state)):
                return _result(folder, state, work, finished_before=True)
        elif source is not None:
            start_from(source, state.model, work)
        with processes.lead_first():
            work.prepare(device)
        if processes.lead:
            _begin(folder, recipe, work, state, resumed=saved)
        if not saved and source is not None:
            # A run that is killed before its first checkpoint must start from these weights again.
            write_last(state, folder)
        if processes.lead:
            # The last of all, since it makes the folder a run.
            folder.write_recipe(written)
        _train(state, recipe, work, folder)
        return _result(folder, state, work)


def _claimed(path: Path, *, resume: bool) -> AbstractContextManager[RunFolder]:
    """The folder, which of several processes only the one that leads makes and locks."""
    return RunFolder.claim(path, resume=resume) if place.rank() == 0 else nullcontext(RunFolder(path))


def _begin(folder: RunFolder, recipe: Recipe, work: Work, state: LoopState, *, resumed: bool) -> None:
    """Write what a run folder holds besides its recipe, figures and checkpoints."""
    values = environment(recipe.training, state.device, state.model, state.processes.size)
    if other := note_environment(folder, values, resumed=resumed):
        print(f"note: the run goes on, but not to the bit: {', '.join(other)}", file=sys.stderr)
    if not resumed:
        work.save(folder.path)


def start_run(loaded: Loaded, path: Path, fill: Callable[[SequenceModel, Work], Value]) -> Value:
    """Write a run that stands before its first step, with weights of its own; `train_recipe` goes on with it.

    Its checkpoints `best` and `last` hold these weights, and what they achieve on valid is what training has to beat.

    Args:
        loaded: the recipe.
        path: must not exist, or be empty.
        fill: gives the model its weights.

    Returns:
        What `fill` returns.

    Raises:
        RequestError: the folder is taken or in use, the device is missing, or the data cannot be read.
    """
    loaded = replace(loaded, recipe=with_absolute_paths(loaded.recipe))
    with RunFolder.claim(path, resume=False) as folder, loaded.blame():
        device = prepare_device(loaded.recipe)
        work = open_work(loaded.recipe)
        state = build_state(loaded.recipe, work, device)
        value = fill(state.model, work)
        valid = _measure(state.model, work, device)
        state.best = state.latest = {"step": 0, **{name: valid[name] for name in FIGURES if name in valid}}
        note_environment(folder, environment(loaded.recipe.training, device, state.model), resumed=False)
        work.save(folder.path)
        write_checkpoint(folder.checkpoint("best"), {"weights": state.weights()}, state.values())
        write_checkpoint(folder.checkpoint("last"), *state.save())
        folder.write_recipe(dump_recipe(loaded.recipe))
        return value


def prepare_device(recipe: Recipe) -> torch.device:
    """The device of a recipe, ready to give the same bits again.

    Raises:
        KeyFault: it is not there, or cannot compute in the recipe's precision.
    """
    training = recipe.training
    device = choose_device(training.device)
    MixedPrecision(training.precision, device)
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    if device.type == "cuda":
        # Some cuBLAS and cuDNN kernels add up in an order that varies unless they are told not to.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling memory before it is written is for finding defects; it would cost every step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return device


def build_state(recipe: Recipe, work: Work, device: torch.device, processes: Processes = ALONE) -> LoopState:
    """The state before the first step; the seed governs the initial weights and everything that is drawn after them."""
    torch.manual_seed(recipe.training.seed)
    model = work.build_model().to(device)
    state = LoopState.start(model, work.windows, recipe.training, device, processes)
    state.text = work.fingerprint
    return state


def start_from(source: str, model: SequenceModel, work: Work) -> None:
    """Give a model the best weights of a run.

    Raises:
        RequestError: the run learned other things, or the shapes of its weights are others; every such weight is named.
    """
    folder, trained = work.model_of(source)
    theirs, ours = trained.state_dict(), model.state_dict()
    faults = [
        f"{name}: {_shape(theirs.get(name))} there, {_shape(ours.get(name))} here"
        for name in {**theirs, **ours}
        if _shape(theirs.get(name)) != _shape(ours.get(name))
    ]
    if faults:
        raise RequestError(
            f"the weights of {folder} do not fit this model: " + "; ".join(faults),
            hint=f"the model section must be that of {folder.recipe}",
        )
    model.load_state_dict(theirs)


def _train(state: LoopState, recipe: Recipe, work: Work, folder: RunFolder) -> None:
    def evaluate(model: SequenceModel) -> Figures:
        return _measure(model, work, state.device, state.processes)

    lead = state.processes.lead
    if lead:
        print(
            f"{folder}: {count_parameters(state.model):,} parameters, {state.windows.tokens_per_epoch:,} tokens an "
            f"epoch, {_place(state)}" + (f", going on after step {state.step}" if state.step else ""),
            *explain(state.model),
            sep="\n",
            file=sys.stderr,
        )
    begin = state.step
    try:
        with stop_on_signals() as stop:
            train(state, recipe.training, evaluate, folder, Progress(Budget(recipe.training), silent=not lead), stop)
    except torch.cuda.OutOfMemoryError:
        raise
    except _UNFIT as error:
        # Some of what is saved, such as the state of the recurrence, only the model itself knows: it is the first step
        # that fails where that is not what the model takes.
        if begin and state.step == begin:
            raise _unfit(folder, error) from error
        raise


def _measure(model: SequenceModel, work: Work, device: torch.device, processes: Processes = ALONE) -> Figures:
    """The figures F of the validation split, with statistics of these very weights where the model has some."""
    recalibrate(model, work.windows, device)
    return work.measure(model, device, processes)


def _restore(state: LoopState, folder: RunFolder, work: Work) -> None:
    tensors, values = read_checkpoint(folder.checkpoint("last"), ["weights", "training"])
    saved(values, folder.checkpoint("last"))
    try:
        refuse_changed(values["text"], work.fingerprint, work.source, str(folder))
        state.restore(tensors, values)
    except _UNFIT as error:
        raise _unfit(folder, error) from error


def _unfit(folder: RunFolder, error: Exception) -> RunError:
    return RunError(
        f"the checkpoint of {folder} does not fit its recipe: {error}",
        hint="another version of lsseq wrote it, or its recipe.yaml was changed",
    )


def _result(folder: RunFolder, state: LoopState, work: Work, *, finished_before: bool = False) -> Result:
    return Result(
        run=str(folder),
        steps=state.step,
        epochs=state.epoch,
        seconds=state.clock.total(),
        tokens_per_second=state.tokens / max(state.clock.training(), 1e-9),
        parameters=count_parameters(state.model),
        best=state.best,
        final=state.final,
        has_test="test" in work.splits,
        is_text=isinstance(work, TextWork),
        finished_before=finished_before,
    )


def _shape(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else "×".join(map(str, tensor.shape))


def _place(state: LoopState) -> str:
    several = f"{state.processes.size} processes, each " if state.processes.size > 1 else ""
    if state.device.type == "cuda":
        return several + torch.cuda.get_device_name(state.device)
    threads = torch.get_num_threads()
    return f"{several}{threads} CPU thread" + ("s" if threads > 1 else "")
