"""What detectors of boundaries are taught in training, with a cross-entropy beside the loss of the model.

The marks say where a detector is to fire. They come with the text, or are the peaks of the model's own surprisal.

Shape letters: T time, B batch, D detectors, of layer 1 and above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lsseq.data.batches import Batch
from lsseq.model.loss import at_least_float32


@dataclass(frozen=True)
class Lesson:
    """How the detectors of a model are taught."""

    weight: float
    """Of the cross-entropy in the loss."""
    own: bool = False
    """The peaks of the model's own surprisal mark the units of the lowest layer; else marks come with the text."""
    delay: int = 0
    """Symbols by which a detector fires after a peak of the model's own surprisal; marks of a text have it in them."""

    def loss(self, sums: Tensor, batch: Batch, surprisal: Callable[[], Tensor]) -> Tensor | None:
        """The cross-entropy in nats, a scalar: the mean over the positions that count, summed over the detectors; None
        where the text has no marks.

        Args:
            sums: (T, B, D), the detectors' sums s before the slope: a step detector fires where s > 0.
            batch: the window, with its marks.
            surprisal: gives (T, B), the surprisal of each target, without a graph; called where it is needed.
        """
        counted = batch.mask
        if self.own:
            marks, known = own_marks(surprisal(), self.delay)
            counted = known if counted is None else known & counted
        elif batch.marks is None:
            return None
        else:
            marks = batch.marks
        return teaching_loss(sums[..., : marks.shape[-1]], marks, counted)


def teaching_loss(sums: Tensor, marks: Tensor, counted: Tensor | None = None) -> Tensor:
    """-log σ(s) at a mark and -log σ(-s) elsewhere: the mean over (T, B), summed over the D detectors.

    Args:
        sums: (T, B, D).
        marks: (T, B, D) of bool.
        counted: (T, B) of bool, the positions that count; all where absent.
    """
    sums = at_least_float32(sums)
    each = F.binary_cross_entropy_with_logits(sums, marks.to(sums.dtype), reduction="none")
    if counted is None:
        return each.mean((0, 1)).sum()
    return (each * counted.unsqueeze(-1)).sum() / counted.sum().clamp(min=1)


def own_marks(surprisal: Tensor, delay: int) -> tuple[Tensor, Tensor]:
    """The marks (T, B, 1) of the inputs of a window, and (T, B): where they are known, since a peak has neighbours.

    Where target t, the symbol after input t, surprises more than the target before it and no less than the one after
    it, a unit has ended with input t. With a delay the detector fires so many inputs later.

    Args:
        surprisal: (T, B), of the targets.
        delay: in symbols.
    """
    peaks, known = torch.zeros_like(surprisal, dtype=torch.bool), torch.zeros_like(surprisal, dtype=torch.bool)
    middle = surprisal[1:-1]
    inputs = slice(1 + delay, 1 + delay + len(middle))
    peaks[inputs], known[inputs] = (middle > surprisal[:-2]) & (middle >= surprisal[2:]), True
    return peaks.unsqueeze(-1), known
