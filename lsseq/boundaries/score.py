"""Scores of the boundaries that the layers of a model find in a text, beside those of baselines.

    scorer = Scorer(gold_rates(chunks))
    for chunk in chunks:
        scorer.add(chunk)
    report = scorer.report()

A boundary at t means that a unit ends after symbol t. Offset k compares a detector that fires at t with a gold boundary
at t + k: at offset -1 it fires one symbol late. The end of a line, an utterance or the text is neither gold nor counted
as found, whatever the offset; for tokens and types it is a boundary that everybody knows. Memory does not
grow with the text: histograms stand for degrees, and beyond 65,536 types type F1 is an estimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsseq.boundaries import baselines
from lsseq.boundaries.chunk import Bools, Chunk, Floats, Piece, Seams
from lsseq.boundaries.counts import ratio
from lsseq.boundaries.layer import Layer
from lsseq.boundaries.level import Level, Score

Best = Mapping[tuple[int | str, str], int]
"""The offset that is quoted for each detector (a layer's index, or the name of a baseline) and level."""


@dataclass(frozen=True)
class Report:
    """What was counted."""

    values: dict[str, Any]
    """The object that `lsseq boundaries --json` prints."""
    lengths: list[list[int]]
    """For each layer, how many units have 0, 1, 2, … symbols; the last entry counts all longer than `LONGEST`."""


class Scorer:
    """Counts over the chunks of a text, which are added in order.

    Args:
        rates: of gold boundaries for each level, see `gold_rates`; `stride` and `random` fire at it.
        best: the offset to quote, chosen on a validation split by `best_offsets`. Without it each detector's own best
            in this text is quoted.
        seed: of `random`.
    """

    def __init__(self, rates: Mapping[str, float] | None = None, best: Best | None = None, seed: int = 1) -> None:
        self._rates = dict(rates or {})
        self._best = best
        self._seed = seed
        self._seams = Seams()
        self._symbols = 0
        self._layers: list[Layer] = []
        self._levels = {name: Level() for name in self._rates}
        self._scores: dict[tuple[int | str, str], Score] = {}
        self._updates: list[int] | None = None

    def add(self, chunk: Chunk) -> None:
        """Count the next symbols of the text.

        Raises:
            ValueError: the chunk has other fields than the one before it, or gold of other levels than `rates`.
        """
        if chunk.gold.keys() != self._rates.keys():
            raise ValueError(f"gold of {list(chunk.gold)}, and rates of {list(self._rates)}")
        if not self._layers:
            self._layers = [Layer() for _ in range(chunk.found.shape[1])]
        if (piece := self._seams.add(chunk)) is not None:
            self._count(piece)

    def report(self) -> Report:
        """What was counted; the text ends here."""
        if (piece := self._seams.finish()) is not None:
            self._count(piece)
        layers = [layer.values() for layer in self._layers]
        values: dict[str, Any] = {"characters": self._symbols, "layers": layers}
        if self._updates is not None:
            values["updates"] = [ratio(count, self._symbols) for count in self._updates]
        if self._levels:
            values |= {"gold": list(self._levels), "baselines": {}}
            for (detector, level), score in self._scores.items():
                if isinstance(detector, int):
                    levels = layers[detector].setdefault("levels", {})
                else:
                    levels = values["baselines"].setdefault(detector, {})
                levels[level] = score.values(self._levels[level])
        return Report(values, [layer.lengths.counts.tolist() for layer in self._layers])

    def _count(self, piece: Piece) -> None:
        chunk = piece.chunk
        self._symbols += len(piece.symbols)
        below: Bools | None = None
        for index, layer in enumerate(self._layers):
            found = piece.inner(chunk.found[:, index])
            layer.add(piece, found, below)
            below = found
        if chunk.updates is not None:
            counts = np.count_nonzero(piece.inner(chunk.updates), axis=0).tolist()
            self._updates = [a + b for a, b in zip(self._updates or [0] * len(counts), counts, strict=True)]
        for name, level in self._levels.items():
            level.add(piece, chunk.gold[name])
            for detector, (found, degree) in self._detectors(piece, self._rates[name]).items():
                if (detector, name) not in self._scores:
                    best = None if self._best is None else self._best[detector, name]
                    self._scores[detector, name] = Score(best)
                self._scores[detector, name].add(piece, found, degree, chunk.gold[name])

    def _detectors(self, piece: Piece, rate: float) -> dict[int | str, tuple[Bools, Floats | None]]:
        """All that is scored: whether it fires, and to what degree, over the whole piece."""
        chunk, positions = piece.chunk, piece.positions
        graded = chunk.probability
        detectors: dict[int | str, tuple[Bools, Floats | None]] = {
            index: (chunk.found[:, index], None if graded is None else graded[:, index])
            for index in range(chunk.found.shape[1])
        }
        detectors["always"] = (baselines.always(positions), None)
        detectors["stride"] = (baselines.stride(positions, rate), None)
        detectors["random"] = (baselines.random(positions, rate, self._seed), None)
        for name, curve in (("surprisal", chunk.surprisal), ("entropy", chunk.entropy)):
            if curve is not None:
                detectors[name] = baselines.graded_peaks(curve)
        return detectors | {name: (found, None) for name, found in chunk.others.items()}


def score(chunk: Chunk, best: Best | None = None, seed: int = 1) -> Report:
    """The report of a whole text that is at hand as one chunk."""
    scorer = Scorer(gold_rates([chunk]), best, seed)
    scorer.add(chunk)
    return scorer.report()


def gold_rates(chunks: Iterable[Chunk]) -> dict[str, float]:
    """The rate of gold boundaries of each level among the places that are scored, 0 where there are none.

    Of the chunks of a text only `gold`, `ends` and `outside` are read.
    """
    seams = Seams()
    places, marks = 0, Counter[str]()
    for piece in seams.pieces(chunks):
        places += int(np.count_nonzero(~piece.ends))
        for level, gold in piece.chunk.gold.items():
            marks[level] += int(np.count_nonzero(piece.inner(gold) & ~piece.ends))
    return {level: count / places if places else 0.0 for level, count in marks.items()}


def best_offsets(values: Mapping[str, Any]) -> dict[tuple[int | str, str], int]:
    """The best offset of each detector and level in a report's values: chosen on a validation split, quoted on another
    text."""
    return {(detector, level): one["best_offset"] for (detector, level), one in scores_of(values).items()}


def scores_of(values: Mapping[str, Any]) -> dict[tuple[int | str, str], Mapping[str, Any]]:
    """The object S of each detector and level in a report's values, the layers first."""
    detectors: dict[int | str, Mapping[str, Any]] = {}
    detectors |= {index: layer.get("levels", {}) for index, layer in enumerate(values["layers"])}
    detectors |= values.get("baselines", {})
    return {(detector, level): one for detector, levels in detectors.items() for level, one in levels.items()}
