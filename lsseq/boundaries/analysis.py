"""What `lsseq boundaries` does: read a text with a trained model, and score and keep what was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from lsseq.boundaries.chunk import Bools, Chunk
from lsseq.boundaries.draw.excerpt import Excerpt
from lsseq.boundaries.reading import STREAMS, Seen, read
from lsseq.boundaries.score import Best, Report, Scorer, gold_rates
from lsseq.data import Stretch, Vocabulary
from lsseq.errors import RequestError
from lsseq.model.language_model import LanguageModel

LONG = 100_000
"""Symbols of a text that is read in several streams."""


@dataclass(frozen=True)
class Text:
    """A text in the tokens of a model, and what must be known of it before it is scored."""

    stretches: Iterable[Stretch]
    """The text in the order in which it is read, again at each iteration."""
    symbols: int
    rates: dict[str, float]
    """Of the gold boundaries of each level, see `gold_rates`; empty where no unit ends within a line."""

    others: Mapping[str, Bools] = field(default_factory=dict)
    """(N,) of the whole text for each name: further detectors, scored beside the baselines."""

    @classmethod
    def of(cls, stretches: Iterable[Stretch]) -> Text:
        """Go through a text once.

        Raises:
            RequestError: it is empty, or it cannot be read; the model is not needed to find out.
        """
        symbols = 0

        def gold_alone() -> Iterator[Chunk]:
            nonlocal symbols
            for stretch in stretches:
                symbols += len(stretch)
                if (gold := stretch.gold) is not None:
                    nothing = np.zeros((len(stretch), 0), np.bool_)
                    yield Chunk(stretch.tokens, nothing, gold=gold.levels, ends=gold.ends, outside=gold.outside)

        rates = gold_rates(gold_alone())
        if symbols == 0:
            raise RequestError("there is nothing to read: the text is empty")
        return cls(stretches, symbols, rates if any(rates.values()) else {})


def measure(
    model: LanguageModel,
    vocabulary: Vocabulary,
    text: Text,
    *,
    best: Best | None = None,
    limit: int = 0,
    streams: int | None = None,
    device: torch.device | str = "cpu",
    keep: Callable[[Chunk], None] | None = None,
) -> tuple[Report, Excerpt]:
    """Read a text once and score it.

    Args:
        model: in evaluation mode, on `device`.
        vocabulary: the model's.
        text: what is read.
        best: the offsets that are quoted (`best_offsets` of a validation text); each detector's own best where absent.
        limit: symbols of the excerpt.
        streams: parts that are read side by side, see `lsseq.boundaries.reading`; where absent 1, and for a long text
            `STREAMS`.
        device: where the model is.
        keep: is given each chunk, in the order of the text.

    Returns:
        The report, and the beginning of the text with all that was seen of it.
    """
    scorer = Scorer(text.rates, best)
    begun: list[Seen] = []
    streams = streams or (STREAMS if text.symbols >= LONG else 1)
    stretches = text.stretches if text.rates else (Stretch(stretch.tokens) for stretch in text.stretches)
    for seen in read(model, stretches, vocabulary.start, streams=streams, device=device):
        chunk = seen.chunk()
        if text.others:
            here = slice(seen.start, seen.start + len(chunk))
            chunk = replace(chunk, others={name: fires[here] for name, fires in text.others.items()})
        scorer.add(chunk)
        if keep is not None:
            keep(chunk)
        if seen.start < limit:
            begun.append(seen)
    return scorer.report(), _excerpt(begun, vocabulary, limit)


def _excerpt(begun: Sequence[Seen], vocabulary: Vocabulary, limit: int) -> Excerpt:
    """The first symbols."""

    def joined(name: str) -> np.ndarray | None:
        parts = [getattr(seen, name) for seen in begun]
        return None if not parts or parts[0] is None else np.concatenate(parts)[:limit]

    text = Stretch.joined([seen.text for seen in begun])[:limit] if begun else Stretch(np.empty(0, np.int64))
    symbols = [vocabulary.token(int(token)) for token in text.tokens]
    found = joined("found")
    return Excerpt(
        symbols,
        np.zeros((0, 0), np.bool_) if found is None else found,
        probability=joined("probability"),
        surprisal=joined("surprisal"),
        norms=joined("norms"),
        breaks=np.array([symbol == "\n" for symbol in symbols], np.bool_),
        gold={} if text.gold is None else text.gold.levels,
    )
