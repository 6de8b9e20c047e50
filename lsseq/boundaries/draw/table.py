"""The scores of a report as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lsseq.boundaries.score import scores_of


def signed(offset: int) -> str:
    """-1, 0 or +1."""
    return f"{offset:+d}" if offset else "0"


def score_rows(values: Mapping[str, Any], level: str) -> Iterator[tuple[str, str, list[float | None]]]:
    """For each detector its name, the offset that is quoted, and precision, recall, F1, R-value, over-segmentation,
    token F1, type F1 and average precision at it."""
    for (detector, of), one in scores_of(values).items():
        if of == level:
            name = f"layer {detector + 1}" if isinstance(detector, int) else detector
            at = one["offset"][str(one["best_offset"])]
            rest = [one["token_f1"], one["type_f1"], one["average_precision"]]
            yield name, signed(one["best_offset"]), [*at.values(), *rest]
