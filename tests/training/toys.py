"""A small model and a small text, so that a whole training takes a fraction of a second."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lsseq.data.batches import Batch, evaluation_windows, training_windows
from lsseq.model.base import Output, Score, SequenceModel
from lsseq.nn.state import State
from lsseq.recipe.schema import Training
from lsseq.runs import RunFolder, read_checkpoint, read_metrics
from lsseq.training.budget import Budget
from lsseq.training.interrupt import Stop
from lsseq.training.loop import train
from lsseq.training.progress import Progress
from lsseq.training.state import Figures, LoopState

SYMBOLS = 7
TOKENS = np.random.default_rng(5).integers(0, SYMBOLS, 1201).astype(np.uint8)
TOKENS[1::2] = (TOKENS[:-1:2] * 3 + 1) % SYMBOLS  # every second token follows from the one before it
VALID = TOKENS[:300]


class ToyModel(SequenceModel):
    """h = tanh(W [embedding; h]) with dropout from torch's generator; the state is a dict, to be awkward."""

    def __init__(self, hidden: int = 6, dropout: float = 0.2, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, hidden, dtype=dtype)
        self.step = nn.Linear(2 * hidden, hidden, dtype=dtype)
        self.output = nn.Linear(hidden, SYMBOLS, dtype=dtype)
        self.output.weight = self.embedding.weight
        self.dropout = dropout

    def nll(self, batch: Batch, state: State) -> tuple[torch.Tensor, State]:
        x = self.embedding(batch.inputs.clamp(min=0))
        h = torch.zeros_like(x[0]) if state is None else state["h"][0]
        hidden = []
        for x_t in x:
            h = torch.tanh(self.step(torch.cat([F.dropout(x_t, self.dropout, self.training), h], dim=-1)))
            hidden.append(h)
        logits = self.output(torch.stack(hidden))
        nll = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none").view_as(batch.targets)
        return nll, {"h": (h,), "none": None}

    def forward(self, batch: Batch, state: State = None) -> Output:
        nll, state = self.nll(batch, state)
        loss = nll.mean()
        return Output(loss, loss.detach(), state, {"rate": torch.tensor([0.5, 0.25]), "map": torch.zeros(2, 2)})

    def score(self, batch: Batch, state: State = None) -> Score:
        nll, state = self.nll(batch, state)
        return Score(nll if batch.mask is None else nll * batch.mask, state)


class StopAt(Stop):
    """Asks to stop when a step was made, as a signal that arrives during it does."""

    def __init__(self, state: LoopState, step: int) -> None:
        self.state, self.step = state, step

    @property
    def requested(self) -> bool:
        return self.state.step >= self.step

    @requested.setter
    def requested(self, value: bool) -> None: ...


def evaluate(model: SequenceModel) -> Figures:
    """The nll of the validation tokens."""
    assert not model.training
    total, state = 0.0, None
    with torch.no_grad():
        for window in evaluation_windows(VALID, 0, streams=2, window=50):
            score = model.score(window.batch, None if window.fresh else state)
            total, state = total + score.nll.double().sum().item(), score.state
    nll = total / len(VALID)
    return {"nll": nll, "perplexity": math.exp(nll), "tokens": len(VALID)}


def toy_training(**keys: Any) -> Training:
    """A `training` section, with small defaults."""
    return Training(**{"batch": 4, "bptt": 10, "lr": 0.02, "clip": 1.0, "steps": 40, "log_every": 7, **keys})


def toy_state(training: Training, **model: Any) -> LoopState:
    torch.manual_seed(training.seed)
    return LoopState.start(ToyModel(**model), training_windows(TOKENS, training, 0), training, torch.device("cpu"))


def toy_train(path: Path, training: Training, state: LoopState | None = None, stop: Stop | None = None) -> LoopState:
    """Train a toy model in a folder, from its `last` checkpoint where there is one."""
    state = state or toy_state(training)
    folder = RunFolder(path)
    path.mkdir(exist_ok=True)
    if folder.checkpoint("last").exists():
        state.restore(*read_checkpoint(folder.checkpoint("last"), ["weights", "training"]))
    train(state, training, evaluate, folder, Progress(Budget(training), io.StringIO()), stop or Stop())
    return state


def losses(path: Path) -> list[dict[str, Any]]:
    """The lines of a run without what depends on the clock."""
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "tokens_per_second")}
        for line in read_metrics(path / "metrics.jsonl")
    ]
