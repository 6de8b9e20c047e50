"""What `lsseq boundaries` does: read a text with a trained model, and score and keep what was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import torch

from lsseq.boundaries.chunk import Bools, Chunk
from lsseq.boundaries.draw.excerpt import Excerpt
from lsseq.boundaries.reading import BLOCK, Seen, Tokens, read
from lsseq.boundaries.score import Best, Report, Scorer, gold_rates
from lsseq.data import Gold, Vocabulary
from lsseq.model.language_model import LanguageModel


@dataclass(frozen=True)
class Text:
    """A text in the tokens of a model, in the order in which it is read, and its gold where there is one."""

    tokens: Tokens
    gold: Gold | None
    others: Mapping[str, Bools] = field(default_factory=dict)
    """(N,) for each name: further detectors, scored beside the baselines."""


def measure(
    model: LanguageModel,
    vocabulary: Vocabulary,
    text: Text,
    *,
    best: Best | None = None,
    limit: int = 0,
    streams: int = 1,
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
        streams: parts that are read side by side, see `lsseq.boundaries.reading`.
        device: where the model is.
        keep: is given each chunk, in the order of the text.

    Returns:
        The report, and the beginning of the text with all that was seen of it.
    """
    scorer = Scorer(gold_rates(_gold_alone(text)), best)
    begun: list[Seen] = []
    for seen in read(model, text.tokens, vocabulary.start, streams=streams, device=device):
        chunk = seen.chunk(text.tokens, text.gold)
        if text.others:
            here = slice(seen.start, seen.start + len(chunk))
            chunk = replace(chunk, others={name: fires[here] for name, fires in text.others.items()})
        scorer.add(chunk)
        if keep is not None:
            keep(chunk)
        if seen.start < limit:
            begun.append(seen)
    return scorer.report(), _excerpt(begun, vocabulary, text, limit)


def _gold_alone(text: Text) -> Iterator[Chunk]:
    """The gold of a text in chunks, with nothing found."""
    if text.gold is None:
        return
    for start in range(0, len(text.tokens), BLOCK * BLOCK):
        here = slice(start, start + BLOCK * BLOCK)
        symbols = text.tokens[here]
        yield Chunk(
            symbols=symbols,
            found=np.zeros((len(symbols), 0), np.bool_),
            gold={level: marks[here] for level, marks in text.gold.levels.items()},
            ends=text.gold.ends[here],
            outside=text.gold.outside[here],
        )


def _excerpt(begun: Sequence[Seen], vocabulary: Vocabulary, text: Text, limit: int) -> Excerpt:
    """The first symbols."""
    limit = min(limit, sum(len(seen.found) for seen in begun))

    def joined(name: str) -> np.ndarray | None:
        parts = [getattr(seen, name) for seen in begun]
        return None if not parts or parts[0] is None else np.concatenate(parts)[:limit]

    symbols = [vocabulary.token(int(token)) for token in islice(text.tokens, limit)]
    found = joined("found")
    return Excerpt(
        symbols,
        np.zeros((0, 0), np.bool_) if found is None else found,
        probability=joined("probability"),
        surprisal=joined("surprisal"),
        norms=joined("norms"),
        breaks=np.array([symbol == "\n" for symbol in symbols], np.bool_),
    )
