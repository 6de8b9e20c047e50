"""The scores by their definitions, in loops over sets, with nothing of the package."""

from __future__ import annotations

import math
from typing import Any

from lsseq.boundaries import Chunk


def line_ends(chunk: Chunk) -> set[int]:
    T = len(chunk)
    ends = {T - 1}
    for t in range(T):
        if chunk.ends is not None and chunk.ends[t]:
            ends.add(t)
        if chunk.outside is not None and chunk.outside[t]:
            ends |= {t, t - 1}
    return ends - {-1}


def places(marks: Any) -> set[int]:
    return {t for t, mark in enumerate(marks) if mark}


def peak_places(curve: Any) -> set[int]:
    return {t - 1 for t in range(1, len(curve) - 1) if curve[t] > curve[t - 1] and curve[t] >= curve[t + 1]}


def over(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def boundary_scores(found: set[int], gold: set[int]) -> dict[str, float | None]:
    precision, recall = over(len(found & gold), len(found)), over(len(found & gold), len(gold))
    r_value = over_segmentation = None
    if recall is not None:
        over_segmentation = len(found) / len(gold) - 1
        r1 = math.sqrt((1 - recall) ** 2 + over_segmentation**2)
        r2 = (-over_segmentation + recall - 1) / math.sqrt(2)
        r_value = 1 - (abs(r1) + abs(r2)) / 2
    return {
        "precision": precision,
        "recall": recall,
        "f1": over(2 * len(found & gold), len(found) + len(gold)),
        "r_value": r_value,
        "over_segmentation": over_segmentation,
    }


def units(chunk: Chunk, cuts: set[int]) -> set[tuple[int, int]]:
    """First and last symbol of each unit, those outside left out."""
    found, first = set(), 0
    for last in sorted(cuts):
        if chunk.outside is None or not chunk.outside[last]:
            found.add((first, last))
        first = last + 1
    return found


def agreement(found: set[Any], gold: set[Any]) -> float | None:
    return over(2 * len(found & gold), len(found) + len(gold))


def precision_by_rank(degrees: list[float], marks: list[bool]) -> float | None:
    """Mean over the marked of the precision among all whose degree is at least theirs."""
    marked = [degree for degree, mark in zip(degrees, marks, strict=True) if mark]
    if not marked:
        return None
    total = 0.0
    for threshold in marked:
        above = [mark for degree, mark in zip(degrees, marks, strict=True) if degree >= threshold]
        total += sum(above) / len(above)
    return total / len(marked)


def scores(chunk: Chunk, fires: set[int], degree: list[float], gold: set[int], best: int | None) -> dict[str, Any]:
    """The object S."""
    T, ends = len(chunk), line_ends(chunk)
    inner = [t for t in range(T) if t not in ends]
    gold_cuts = (gold - ends) | ends
    found = {k: {t + k for t in fires if 0 <= t + k < T} for k in (-1, 0, 1)}
    tables = {k: boundary_scores(found[k] - ends, gold - ends) for k in (-1, 0, 1)}
    if best is None:
        best = max((0, -1, 1), key=lambda k: tables[k]["f1"] or 0.0)
    one, other = units(chunk, (found[best] - ends) | ends), units(chunk, gold_cuts)
    spell = lambda unit: tuple(chunk.symbols[unit[0] : unit[1] + 1].tolist())  # noqa: E731
    moved = [degree[t - best] if 0 <= t - best < T else 0.0 for t in range(T)]
    return {
        "offset": {str(k): table for k, table in tables.items()},
        "best_offset": best,
        "token_f1": agreement(one, other),
        "type_f1": agreement(set(map(spell, one)), set(map(spell, other))),
        "average_precision": precision_by_rank([moved[t] for t in inner], [t in gold for t in inner]),
    }


def ranks(values: list[float]) -> list[float]:
    return [sum(o < v for o in values) + (sum(o == v for o in values) + 1) / 2 for v in values]


def rank_correlation(one: list[float], other: list[float]) -> float | None:
    a, b = ranks(one), ranks(other)
    mean = (len(a) + 1) / 2
    cov = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    spread = sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)
    return cov / math.sqrt(spread) if spread else None
