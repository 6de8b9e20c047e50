"""What a training would cost: a few steps on data of the right shape, and no run folder."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from lsseq.data.batches import Batch, TrainingWindows, Window
from lsseq.data.corpus import load_corpus
from lsseq.data.tasks import known_form
from lsseq.data.tasks.examples import at_the_end
from lsseq.model.base import SequenceModel
from lsseq.model.cost import count_parameters
from lsseq.model.factory import build_answering, build_model
from lsseq.processes.group import Processes, joined
from lsseq.recipe import KeyFault
from lsseq.recipe.schema import Recipe
from lsseq.training.device import choose_device
from lsseq.training.session import prepare_device
from lsseq.training.state import LoopState, total_steps
from lsseq.training.step import make_step
from lsseq.training.work import open_work

STEPS = 5


@dataclass(frozen=True)
class Trial:
    """The keys of `lsseq train --dry-run --json`."""

    name: str
    parameters: int
    device: str
    vocabulary_size: int | None
    """None where the model reads numbers."""
    tokens_per_epoch: int | None
    """None where the corpus is not prepared."""
    steps: int | None
    """Of the whole budget, as far as it is counted in steps or epochs of known data."""
    seconds_per_step: float
    tokens_per_second: float
    seconds: float | None
    """Estimate for the whole budget without evaluations and teachers."""
    peak_bytes: int | None
    """Memory: of the device, or of the process on the CPU where the system tells."""


def try_recipe(recipe: Recipe) -> Trial:
    """Build the model of a recipe and time a few steps.

    Where `torchrun` has started several processes, all of them call this and share each step.

    Raises:
        RequestError: as a training would, before its first step.
    """
    with joined(choose_device(recipe.training.device)) as processes:
        return _try(recipe, processes)


def _try(recipe: Recipe, processes: Processes) -> Trial:
    device = prepare_device(recipe)
    training = recipe.training
    torch.manual_seed(training.seed)
    with processes.lead_first():
        model, windows, vocabulary_size = _parts(recipe)
    model.to(device).train()
    state = LoopState.start(model, windows, training, device, processes)
    times = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        make_step(state, training)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    # The first step allocates memory and chooses kernels.
    seconds_per_step = statistics.median(times[1:])
    known = not isinstance(windows, _RandomWindows)
    steps = total_steps(training, windows) if known else training.steps
    by_steps = None if steps is None else steps * seconds_per_step
    limits = [limit for limit in (by_steps, training.minutes and 60.0 * training.minutes) if limit is not None]
    return Trial(
        name=recipe.name or "",
        parameters=count_parameters(model),
        device=str(device),
        vocabulary_size=vocabulary_size,
        tokens_per_epoch=windows.tokens_per_epoch if known else None,
        steps=steps,
        seconds_per_step=seconds_per_step,
        tokens_per_second=state.tokens / STEPS / seconds_per_step,
        seconds=min(limits, default=None),
        peak_bytes=_peak_bytes(device),
    )


def _parts(recipe: Recipe) -> tuple[SequenceModel, TrainingWindows, int | None]:
    """The model, the windows, and how many different symbols there are."""
    try:
        work = open_work(recipe)
    except KeyFault as fault:
        # A corpus that was not fetched yet: what its model needs is known, and random data cost as much as others.
        parts = _without_corpus(recipe) if fault.key == "data.corpus" and recipe.data.corpus is not None else None
        if parts is None:
            raise
        return parts
    return work.build_model(), work.windows, work.symbols


def _without_corpus(recipe: Recipe) -> tuple[SequenceModel, TrainingWindows, int | None] | None:
    data, training = recipe.data, recipe.training
    if data.task is None:
        size = data.vocabulary_size
        if size is None:
            return None
        tokens = torch.randint(size, (training.bptt + 1, training.batch))
        return build_model(recipe.model, size), _RandomWindows(Batch(tokens[:-1], tokens[1:])), size
    form = known_form(data, data.task)
    images = load_corpus(str(data.corpus)).images
    if form is None or images is None:
        return None
    B, T = training.batch, images.size - 1
    batch = Batch(torch.rand(T, B, 1), *at_the_end(np.zeros(B, np.int64), np.full(B, T, np.int64)))
    return build_answering(recipe.model, form), _RandomWindows(batch), None


class _RandomWindows:
    """Windows of random data in the shape of the real ones."""

    windows_per_epoch = 1
    tokens_per_epoch = 1

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def next(self) -> Window:
        return Window(self._batch, fresh=True, epoch=0, ends_epoch=False)

    def position(self) -> dict[str, int]:
        return {}

    def seek(self, position: dict[str, int]) -> None:
        pass


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
