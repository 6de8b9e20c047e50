"""What a training would cost: a few steps on text of the right shape, and no run folder."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass

import torch

from lsseq.data import open_text
from lsseq.data.batches import Batch, Marks, TrainingWindows, Window, training_windows
from lsseq.model.cost import count_parameters
from lsseq.model.factory import build_model
from lsseq.recipe import KeyFault
from lsseq.recipe.schema import Recipe, Training
from lsseq.training.session import prepare_device
from lsseq.training.state import LoopState, total_steps
from lsseq.training.step import make_step

STEPS = 5


@dataclass(frozen=True)
class Trial:
    """The keys of `lsseq train --dry-run --json`."""

    name: str
    parameters: int
    device: str
    vocabulary_size: int
    tokens_per_epoch: int | None
    """None where the corpus is not prepared."""
    steps: int | None
    """Of the whole budget, as far as it is counted in steps or epochs of a known text."""
    seconds_per_step: float
    tokens_per_second: float
    seconds: float | None
    """Estimate for the whole budget without evaluations."""
    peak_bytes: int | None
    """Memory: of the device, or of the process on the CPU where the system tells."""


def try_recipe(recipe: Recipe) -> Trial:
    """Build the model of a recipe and time a few steps.

    Raises:
        RequestError: as a training would, before its first step.
    """
    device = prepare_device(recipe)
    training = recipe.training
    vocabulary_size, windows = _text(recipe)
    torch.manual_seed(training.seed)
    model = build_model(recipe.model, vocabulary_size).to(device)
    state = LoopState.start(model, windows or _RandomWindows(training, vocabulary_size), training, device)
    model.train()
    times = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        make_step(state, training)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    # The first step allocates memory and chooses kernels.
    seconds_per_step = statistics.median(times[1:])
    steps = total_steps(training, windows) if windows is not None else training.steps
    by_steps = None if steps is None else steps * seconds_per_step
    limits = [limit for limit in (by_steps, training.minutes and 60.0 * training.minutes) if limit is not None]
    return Trial(
        name=recipe.name or "",
        parameters=count_parameters(model),
        device=str(device),
        vocabulary_size=vocabulary_size,
        tokens_per_epoch=None if windows is None else windows.tokens_per_epoch,
        steps=steps,
        seconds_per_step=seconds_per_step,
        tokens_per_second=state.tokens / STEPS / seconds_per_step,
        seconds=min(limits, default=None),
        peak_bytes=_peak_bytes(device),
    )


def _text(recipe: Recipe) -> tuple[int, TrainingWindows | None]:
    """The size of the vocabulary, and the windows where the text is at hand."""
    try:
        data = open_text(recipe.data)
    except KeyFault as fault:
        # A corpus that was not fetched yet: its recipe states the size, and random tokens cost as much as others.
        if fault.key != "data.corpus" or recipe.data.corpus is None or recipe.data.vocabulary_size is None:
            raise
        return recipe.data.vocabulary_size, None
    return len(data.vocabulary), training_windows(data.splits["train"].tokens, recipe.training, data.vocabulary.start)


class _RandomWindows:
    """Windows of random tokens in the shape of the real ones."""

    windows_per_epoch = 1
    tokens_per_epoch = 1

    def __init__(self, training: Training, vocabulary_size: int) -> None:
        tokens = torch.randint(vocabulary_size, (training.bptt + 1, training.batch))
        self._batch = Batch(tokens[:-1], tokens[1:])

    def next(self) -> Window:
        return Window(self._batch, fresh=True, epoch=0, ends_epoch=False)

    def teach(self, marks: Marks) -> None:
        pass

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
