"""Batches, and the windows of a token stream: what training and evaluation read, time-major and in order.

Every window predicts each of its targets from the token before it in the text, so inputs are the text shifted by one.
The first token of a split has none before it: there the input is the vocabulary's `start` token, or `START` where it
has none, which a model reads as a zero vector.

Nothing here keeps a random generator between calls: what a window holds is a function of the seed, the epoch and its
number in the epoch, so a position of three integers is all that a resumed run needs.

Shape letters: T time, B batch (streams or pieces side by side).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Training

START = -1
"""The input before the first token where the vocabulary has no start token: a zero vector."""

BEGINNING = {"epoch": 0, "window": 0, "offset": 0}
"""The position of the first window, of windows of any kind."""

PIECES_TOGETHER = 64
"""Pieces are independent of each other, so evaluation reads at least so many side by side."""

Tokens = np.ndarray[Any, np.dtype[Any]]
Marks = np.ndarray[Any, np.dtype[np.bool_]]
"""(N, D): what D detectors are taught about each of N tokens: to fire there, once it was read, or not."""


@dataclass(frozen=True)
class Batch:
    """Inputs and targets, side by side in time."""

    inputs: Tensor
    """(T, B) of int64: in a text the token before each target; `START` where there is none. Or (T, B, I) of float32."""
    targets: Tensor
    """(T, B) of int64, or of float32 where a number is to be told."""
    mask: Tensor | None = None
    """(T, B) of bool, False where nothing is to be predicted; None where every target counts."""
    marks: Tensor | None = None
    """(T, B, D) of bool: whether each of D detectors is to fire at the input; None where nothing is taught."""

    @property
    def tokens(self) -> int:
        """The number of targets that count."""
        return self.targets.numel() if self.mask is None else int(self.mask.sum())

    @property
    def steps(self) -> int:
        """The number of inputs up to the last target that counts of each column: what has to be read."""
        if self.mask is None:
            return self.targets.numel()
        return int((self.mask * torch.arange(1, len(self.mask) + 1).unsqueeze(1)).amax(0).sum())

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        mask, marks = (None if part is None else part.to(device, non_blocking=True) for part in (self.mask, self.marks))
        return Batch(self.inputs.to(device, non_blocking=True), self.targets.to(device, non_blocking=True), mask, marks)

    def columns(self, columns: slice) -> Batch:
        """Some of those that lie side by side."""
        mask, marks = (None if part is None else part[:, columns].contiguous() for part in (self.mask, self.marks))
        return Batch(self.inputs[:, columns].contiguous(), self.targets[:, columns].contiguous(), mask, marks)


@dataclass(frozen=True)
class Window:
    """One step's worth of text, and where it stands."""

    batch: Batch
    fresh: bool
    """The state starts anew before this window; else it is carried from the window before."""
    epoch: int
    """Whole epochs before this window."""
    ends_epoch: bool
    """It is the last of its epoch."""
    lr_scale: float = 1.0
    """What the learning rate is multiplied by: length over `bptt` for random lengths, else 1."""
    places: np.ndarray[Any, np.dtype[np.int64]] | None = None
    """(B,): where in the text the first target of each column stands; in evaluation alone."""
    whole: Batch | None = None
    """The batch that `batch` is a part of, where other processes read the rest."""

    @property
    def targets(self) -> int:
        """The targets that count, of the whole batch."""
        return (self.whole or self.batch).tokens

    @property
    def steps(self) -> int:
        """What has to be read, of the whole batch; see `Batch.steps`."""
        return (self.whole or self.batch).steps


class TrainingWindows(Protocol):
    """The endless sequence of training windows, of a text or of a task."""

    @property
    def windows_per_epoch(self) -> int:
        """Windows of an epoch; the expected number where the lengths are random."""

    @property
    def tokens_per_epoch(self) -> int:
        """Steps of an epoch; in a text each has a target."""

    def next(self) -> Window:
        """The next window."""

    def position(self) -> dict[str, int]:
        """Where the next window begins. With the seed it determines everything that follows."""

    def seek(self, position: dict[str, int]) -> None:
        """Go on from a position. Raises ValueError where no window begins there."""


class TextWindows(TrainingWindows, Protocol):
    """Those of a text."""

    def teach(self, marks: Marks) -> None:
        """From now on the windows carry what detectors are taught about each token, (N, D)."""


def require_below(end: int, place: int, position: dict[str, int]) -> None:
    """Raises ValueError: the position has its window at such a place in an epoch, which has fewer."""
    if not 0 <= place < end:
        raise ValueError(f"no window begins at {position}")


def training_windows(tokens: Tokens, training: Training, start: int | None) -> TextWindows:
    """The windows that a recipe's `training` section asks for.

    Args:
        tokens: the training split, 1-D, of any integer type.
        training: reads `windows`, `batch`, `bptt`, `random_bptt` and `seed`.
        start: the token fed before the first one; None feeds `START`.

    Raises:
        KeyFault: the text is shorter than one window needs, or the keys contradict each other.
    """
    if training.windows == "pieces":
        if training.random_bptt:
            raise KeyFault("training.random_bptt", "random window lengths need `training.windows=stream`")
        return Pieces(tokens, training, start)
    return Streams(tokens, training, start)


class _Reader:
    """Cuts batches out of the tokens: column b starts at `starts[b]` and runs for T tokens."""

    def __init__(self, tokens: Tokens, start: int | None) -> None:
        # A plain view: indexing the memory-map class itself costs several times as much.
        self.tokens = np.asarray(tokens)
        self.start = START if start is None else start
        self._marks: Marks | None = None

    def teach(self, marks: Marks) -> None:
        """From now on the windows carry these marks, (N, D)."""
        self._marks = marks

    def read(self, starts: np.ndarray[Any, np.dtype[np.int64]], length: int) -> Batch:
        """Inputs, targets and marks; positions beyond the last token repeat it. Before the first one nothing fires."""
        # Row 0 is the token before each column, so inputs and targets are two contiguous views of one block.
        places = starts[None, :] + np.arange(-1, length)[:, None]
        known = places.clip(0, len(self.tokens) - 1)
        block = self.tokens[known].astype(np.int64)
        block[places < 0] = self.start
        both = torch.from_numpy(block)
        marks = None
        if self._marks is not None:
            marks = torch.from_numpy(self._marks[known[:-1]] & (places[:-1, :, None] >= 0))
        return Batch(both[:-1], both[1:], marks=marks)


class Streams(_Reader):
    """The text cut into B equal streams read side by side, the state carried from window to window.

    The tokens left over at the end (fewer than B) are not trained on. The state starts anew with each epoch.

    With `random_bptt` (Merity et al. 2018, section 5) a window's length is drawn from N(base, 5), at least 5, where
    base is `bptt` with probability 0.95 and half of it otherwise; the learning rate is scaled by length / bptt.
    """

    def __init__(self, tokens: Tokens, training: Training, start: int | None) -> None:
        super().__init__(tokens, start)
        self.batch, self.bptt, self.seed = training.batch, training.bptt, training.seed
        self.random = training.random_bptt
        self.length = len(tokens) // self.batch
        if self.length == 0:
            raise KeyFault(
                "training.batch", f"{len(tokens)} training tokens are too few for {self.batch} streams side by side"
            )
        self.starts = np.arange(self.batch, dtype=np.int64) * self.length
        self.epoch = self.window = self.offset = 0

    @property
    def windows_per_epoch(self) -> int:
        mean = 0.95 * self.bptt + 0.05 * self.bptt / 2 if self.random else self.bptt
        return max(1, int(np.ceil(self.length / max(mean, 5 if self.random else 1))))

    @property
    def tokens_per_epoch(self) -> int:
        return self.length * self.batch

    def next(self) -> Window:
        T = min(self._drawn_length(), self.length - self.offset)
        window = Window(
            self.read(self.starts + self.offset, T),
            fresh=self.offset == 0,
            epoch=self.epoch,
            ends_epoch=self.offset + T == self.length,
            lr_scale=T / self.bptt if self.random else 1.0,
        )
        if window.ends_epoch:
            self.epoch, self.window, self.offset = self.epoch + 1, 0, 0
        else:
            self.window, self.offset = self.window + 1, self.offset + T
        return window

    def _drawn_length(self) -> int:
        if not self.random:
            return self.bptt
        rng = np.random.default_rng([self.seed, self.epoch, self.window])
        base = self.bptt if rng.random() < 0.95 else self.bptt / 2
        return max(5, int(rng.normal(base, 5)))

    def position(self) -> dict[str, int]:
        return {"epoch": self.epoch, "window": self.window, "offset": self.offset}

    def seek(self, position: dict[str, int]) -> None:
        require_below(self.length, position["offset"], position)
        self.epoch, self.window, self.offset = position["epoch"], position["window"], position["offset"]


class Pieces(_Reader):
    """Pieces of `bptt` tokens, each read from the initial state (Krueger et al. 2017, character-level Penn Treebank).

    Each epoch cuts the text at another random offset below `bptt` and shuffles the pieces. Pieces that do not fill a
    batch are left out of that epoch, so every epoch has the same number of windows.
    """

    def __init__(self, tokens: Tokens, training: Training, start: int | None) -> None:
        super().__init__(tokens, start)
        self.batch, self.bptt, self.seed = training.batch, training.bptt, training.seed
        # So many pieces fit at every offset.
        self.pieces = (len(tokens) - self.bptt + 1) // self.bptt
        if self.pieces < self.batch:
            raise KeyFault(
                "training.batch",
                f"{len(tokens)} training tokens are too few for {self.batch} pieces of {self.bptt} (`training.bptt`)",
            )
        self.epoch = self.window = 0
        self._shuffled = self._shuffle(0)

    @property
    def windows_per_epoch(self) -> int:
        return self.pieces // self.batch

    @property
    def tokens_per_epoch(self) -> int:
        return self.windows_per_epoch * self.batch * self.bptt

    def next(self) -> Window:
        chosen = self._shuffled[self.window * self.batch : (self.window + 1) * self.batch]
        last = self.window + 1 == self.windows_per_epoch
        window = Window(self.read(chosen, self.bptt), fresh=True, epoch=self.epoch, ends_epoch=last)
        if last:
            self.seek({"epoch": self.epoch + 1, "window": 0})
        else:
            self.window += 1
        return window

    def _shuffle(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        rng = np.random.default_rng([self.seed, epoch])
        offset = int(rng.integers(self.bptt))
        return offset + self.bptt * rng.permutation(self.pieces)

    def position(self) -> dict[str, int]:
        return {"epoch": self.epoch, "window": self.window}

    def seek(self, position: dict[str, int]) -> None:
        require_below(self.windows_per_epoch, position["window"], position)
        if position["epoch"] != self.epoch:
            self._shuffled = self._shuffle(position["epoch"])
        self.epoch, self.window = position["epoch"], position["window"]


def evaluation_windows(
    tokens: Tokens, start: int | None, *, streams: int, window: int, pieces: int | None = None
) -> Iterator[Window]:
    """Every token of a split as a target exactly once.

    Without `pieces` the split is cut into `streams` parts of equal length, read side by side with the state carried;
    the end of the last ones is padded and masked. Each part begins from the initial state and from the true token
    before it. The windows are only what is computed at once: they do not change which token is predicted from what.

    With `pieces` the split is cut into pieces of so many tokens, each read from the initial state; at least
    `PIECES_TOGETHER` of them side by side, since that changes no figure.

    Args:
        tokens: the split, 1-D, of any integer type.
        start: the token fed before the first one; None feeds `START`.
        streams: B, the parts read side by side.
        window: the largest T.
        pieces: tokens of a piece.
    """
    reader = _Reader(tokens, start)
    total = len(tokens)
    if pieces is None:
        length = -(-total // streams)
        groups = [np.arange(streams, dtype=np.int64) * length]
    else:
        length = min(pieces, total)
        together = max(streams, PIECES_TOGETHER)
        first = np.arange(0, total, max(length, 1), dtype=np.int64)
        groups = [first[i : i + together] for i in range(0, len(first), together)]
    for number, starts in enumerate(groups):
        for offset in range(0, length, window):
            T = min(window, length - offset)
            ends_epoch = number == len(groups) - 1 and offset + T == length
            places = starts + offset
            batch = _masked(reader, places, T)
            yield Window(batch, fresh=offset == 0, epoch=0, ends_epoch=ends_epoch, places=places)


def _masked(reader: _Reader, starts: np.ndarray[Any, np.dtype[np.int64]], length: int) -> Batch:
    """The batch of these columns; what lies beyond the end of the tokens is masked."""
    batch = reader.read(starts, length)
    total = len(reader.tokens)
    if int(starts.max()) + length <= total:
        return batch
    return replace(batch, mask=torch.from_numpy(starts[None, :] + np.arange(length)[:, None] < total))
