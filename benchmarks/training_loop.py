"""What lsseq's training loop and evaluation cost over the same model in plain PyTorch.

    python benchmarks/training_loop.py [--pairs 30] [--steps 5] [--hidden 256] [--batch 32] [--bptt 100] [--threads N]

Both sides train an embedding, the LSTM of `torch.nn`, a linear layer and cross-entropy, with Adam and a clipped
gradient norm. Blocks of steps alternate in one process, so that both meet the same disturbances: lsseq's own loop, its
checks and log lines included, is held after each block for a block of the plain loop. The figure is the median of the
ratios of neighbouring blocks.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lsseq.data import Split
from lsseq.data.batches import training_windows
from lsseq.data.vocabulary import ByteVocabulary
from lsseq.evaluation import measure_split
from lsseq.model.factory import build_model
from lsseq.recipe.schema import Evaluation, Model, Training
from lsseq.runs import RunFolder
from lsseq.training.budget import Budget
from lsseq.training.interrupt import Stop
from lsseq.training.loop import train
from lsseq.training.progress import Progress
from lsseq.training.state import LoopState

VOCABULARY = 256
EMBEDDING = 64
WARM_UP = 3
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, 400_000).astype(np.uint8)


class Bare(nn.Module):
    """The model as anybody would write it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, hidden)
        self.output = nn.Linear(hidden, VOCABULARY)

    def forward(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, state = self.lstm(self.embedding(inputs), state)
        return F.cross_entropy(self.output(h).flatten(0, 1), targets.flatten()), state


class BareLoop:
    """The loop as anybody would write it: no checks, no log, no checkpoints."""

    def __init__(self, hidden: int, batch: int, bptt: int) -> None:
        self.model = Bare(hidden)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        length = len(TOKENS) // batch
        self.text = torch.from_numpy(TOKENS[: length * batch].reshape(batch, length).T.astype(np.int64)).contiguous()
        self.bptt = bptt
        self.offset = 0
        self.state: Any = None

    def run(self, steps: int) -> None:
        for _ in range(steps):
            if self.offset + self.bptt + 1 > len(self.text):
                self.offset, self.state = 0, None
            text = self.text[self.offset : self.offset + self.bptt + 1]
            self.optimizer.zero_grad()
            loss, state = self.model(text[:-1], text[1:], self.state)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.state = tuple(part.detach() for part in state)
            self.offset += self.bptt


class Timer:
    """Wall and processor time since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


class Alternate(Progress):
    """After each block of lsseq's steps: note its time, and time a block of the bare loop."""

    def __init__(self, budget: Budget, bare: BareLoop, steps: int) -> None:
        super().__init__(budget, io.StringIO())
        self.bare, self.steps = bare, steps
        self.ours: list[tuple[float, float]] = []
        self.theirs: list[tuple[float, float]] = []
        self.timer = Timer()

    def stepped(self, state: LoopState) -> None:
        super().stepped(state)
        if state.step % self.steps:
            return
        self.ours.append(self.timer.read())
        timer = Timer()
        self.bare.run(self.steps)
        self.theirs.append(timer.read())
        self.timer = Timer()


def time_training(pairs: int, steps: int, hidden: int, batch: int, bptt: int) -> None:
    training = Training(
        lr=1e-3, clip=1.0, batch=batch, bptt=bptt, steps=steps * (pairs + WARM_UP), evaluate_every=10**9
    )
    torch.manual_seed(1)
    model = build_model(Model(hidden=hidden, embedding=EMBEDDING), VOCABULARY)
    state = LoopState.start(model, training_windows(TOKENS, training, None), training, torch.device("cpu"))
    bare = BareLoop(hidden, batch, bptt)
    progress = Alternate(Budget(training), bare, steps)
    with tempfile.TemporaryDirectory() as folder:
        train(state, training, lambda _: {"nll": 0.0}, RunFolder(Path(folder)), progress, Stop())
    ours, theirs = progress.ours[WARM_UP:], progress.theirs[WARM_UP:]
    speed = steps * batch * bptt / statistics.median(wall for wall, _ in theirs)
    print(f"training, H={hidden} B={batch} T={bptt}, {pairs} pairs of {steps} steps; bare loop {speed:,.0f} tokens/s")
    report(ours, theirs)


def time_evaluation(pairs: int, hidden: int) -> None:
    streams, window, tokens = 8, 200, 40_000
    torch.manual_seed(1)
    model = build_model(Model(hidden=hidden, embedding=EMBEDDING), VOCABULARY)
    bare = Bare(hidden)
    split = Split(TOKENS[:tokens], None, tokens)
    vocabulary = ByteVocabulary()
    text = torch.from_numpy(TOKENS[: tokens + 1].astype(np.int64))
    inputs = text[:-1].view(streams, -1).T.contiguous()
    targets = text[1:].view(streams, -1).T.contiguous()

    def ours() -> None:
        measure_split(model, split, vocabulary, Evaluation(window=window), streams=streams, device="cpu")

    @torch.no_grad()
    def theirs() -> None:
        state: Any = None
        total = 0.0
        for begin in range(0, len(inputs), window):
            part = slice(begin, begin + window)
            loss, state = bare(inputs[part], targets[part], state)
            total += loss.item()

    times: list[list[tuple[float, float]]] = [[], []]
    for pair in range(pairs + WARM_UP):
        order: list[tuple[int, Callable[[], None]]] = [(0, ours), (1, theirs)]
        for side, measured in order if pair % 2 else reversed(order):
            timer = Timer()
            measured()
            times[side].append(timer.read())
    speed = tokens / statistics.median(wall for wall, _ in times[1][WARM_UP:])
    print(f"evaluation, H={hidden} {streams} streams, {pairs} pairs of {tokens:,} tokens; bare {speed:,.0f} tokens/s")
    report(times[0][WARM_UP:], times[1][WARM_UP:])


def report(ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> None:
    """The median of the ratios and the quartiles, for the wall and for the processor."""
    for number, clock in enumerate(("wall", "CPU")):
        ratios = [one[number] / other[number] for one, other in zip(ours, theirs, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"  {clock:4} time over the bare loop: {middle:.3f} (quartiles {low:.3f} to {high:.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--steps", type=int, default=5, help="steps of a block")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--bptt", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s)")
    time_training(options.pairs, options.steps, options.hidden, options.batch, options.bptt)
    time_evaluation(options.pairs, options.hidden)


if __name__ == "__main__":
    main()
