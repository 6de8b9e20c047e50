"""Precision and recall of boundaries, and what is made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lsseq.boundaries.chunk import Bools


def ratio(part: float, whole: float) -> float | None:
    """Undefined where the whole is zero."""
    return part / whole if whole else None


def f1(hits: int, found: int, gold: int) -> float | None:
    """Harmonic mean of precision and recall, `2·hits / (found + gold)`; undefined where there is neither."""
    return ratio(2 * hits, found + gold)


def r_value(recall: float, over_segmentation: float) -> float:
    """1 for a perfect segmentation; unlike F1 it does not reward more boundaries than there are.

    Räsänen, Laine and Altosaar 2009, "An improved speech segmentation quality measure: the R-value": one minus the mean
    distance from the ideal point (recall 1, no over-segmentation) and from the line on which recall grows by its own
    merit.
    """
    ideal = math.hypot(1 - recall, over_segmentation)
    line = (recall - 1 - over_segmentation) / math.sqrt(2)
    return 1 - (ideal + abs(line)) / 2


@dataclass
class Counts:
    """Boundaries found, boundaries that are gold, and those that are both."""

    hits: int = 0
    found: int = 0
    gold: int = 0

    def add(self, found: Bools, gold: Bools) -> None:
        self.hits += int(np.count_nonzero(found & gold))
        self.found += int(np.count_nonzero(found))
        self.gold += int(np.count_nonzero(gold))

    def f1(self) -> float | None:
        return f1(self.hits, self.found, self.gold)

    def values(self) -> dict[str, float | None]:
        """`precision`, `recall`, `f1`, `r_value` and `over_segmentation`: found over gold, less one."""
        recall = ratio(self.hits, self.gold)
        over = self.found / self.gold - 1 if self.gold else None
        return {
            "precision": ratio(self.hits, self.found),
            "recall": recall,
            "f1": self.f1(),
            "r_value": None if recall is None or over is None else r_value(recall, over),
            "over_segmentation": over,
        }
