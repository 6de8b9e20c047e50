"""Reading a text of any length with a language model, for its boundaries: chunks in the order of the text.

A text is read in blocks. With one stream the state is carried from the first symbol to the last. With several, a block
is cut into parts that are read side by side, each from the initial state some symbols (the warm-up) before its
beginning, so that it has forgotten where it began; the first block is always read in one stream.

Shape letters: N symbols of the text, T steps, B streams, D layers with a detector, L layers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from lsseq.boundaries.chunk import Bools, Chunk, Floats
from lsseq.data import Gold
from lsseq.data.batches import START
from lsseq.model.language_model import LanguageModel
from lsseq.nn.state import State

BLOCK, WARM_UP, STREAMS = 512, 128, 32
"""Symbols of a stream that are read at a time; symbols that it reads before them; streams on long texts."""
_LOGITS = 1 << 23
"""Logits that may be held at a time: with a large vocabulary fewer streams are read."""

Tokens = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Seen:
    """What a model makes of a stretch of T symbols."""

    start: int
    """Position in the text of the first one."""
    found: Bools
    """(T, D): a boundary after the symbol."""
    probability: Floats | None
    """(T, D); None without detectors."""
    surprisal: Floats
    """(T,): -log p of the symbol given those before it, in nats."""
    entropy: Floats
    """(T,): of the prediction of the symbol, in nats."""
    updates: Bools | None
    """(T, L): the layer computed; None without detectors."""
    norms: Floats | None
    """(T, L): of the layers' outputs; None where the model does not tell."""
    watched: Floats | None = None
    """(T,): log of the probability that the prediction of the symbol gives to the token that is watched."""

    def chunk(self, tokens: Tokens, gold: Gold | None) -> Chunk:
        """The stretch with its symbols and its gold, out of those of the whole text."""
        here = slice(self.start, self.start + len(self.found))
        return Chunk(
            symbols=tokens[here],
            found=self.found,
            probability=self.probability,
            gold={} if gold is None else {level: marks[here] for level, marks in gold.levels.items()},
            ends=None if gold is None else gold.ends[here],
            outside=None if gold is None else gold.outside[here],
            surprisal=self.surprisal,
            entropy=self.entropy,
            updates=self.updates,
        )


def read(
    model: LanguageModel,
    tokens: Tokens,
    start: int | None,
    *,
    streams: int = 1,
    device: torch.device | str = "cpu",
    watch: int | None = None,
) -> Iterator[Seen]:
    """Read a text.

    Args:
        model: in evaluation mode, on `device`.
        tokens: (N,), N > 0.
        start: the token before the first one; None for a vector of zeros.
        streams: parts of a block that are read side by side.
        device: where the model is.
        watch: a token whose probability is told at every symbol.
    """
    streams = max(1, min(streams, _LOGITS // (BLOCK * model.vocabulary_size)))
    reader = _Reader(model, tokens, START if start is None else start, device, watch)
    yield from reader.first(min(BLOCK, len(tokens)))
    position = BLOCK
    while position < len(tokens):
        left = len(tokens) - position
        if streams == 1:
            yield from reader.on(position, min(BLOCK, left))
            position += BLOCK
            continue
        count = min(streams, -(-left // BLOCK))
        yield from reader.side_by_side(position, count)
        position += count * BLOCK


class _Reader:
    """Reads stretches of a text, and keeps where it stands."""

    def __init__(
        self, model: LanguageModel, tokens: Tokens, start: int, device: torch.device | str, watch: int | None
    ) -> None:
        self.model, self.tokens, self.start, self.device, self.watch = model, tokens, start, device, watch
        self.state: State = None
        self.ahead: Tensor | None = None
        """(B, V): the log-probabilities of the symbol that comes next."""

    def first(self, count: int) -> Iterator[Seen]:
        """The beginning of the text, from the initial state."""
        self._step(np.full((1, 1), self.start))
        yield from self.on(0, count)

    def on(self, position: int, count: int) -> Iterator[Seen]:
        """What follows the stretch that was read last."""
        yield self._read(position, self.tokens[position : position + count].reshape(-1, 1))

    def side_by_side(self, position: int, streams: int) -> Iterator[Seen]:
        """So many stretches of `BLOCK` symbols from a position on; the last may be shorter, as the text is."""
        starts = position + np.arange(streams) * BLOCK
        self.state = None
        self._step(self.tokens[starts + np.arange(-WARM_UP, 0)[:, None]])
        within = np.minimum(starts + np.arange(BLOCK)[:, None], len(self.tokens) - 1)
        read, left = self._read(position, self.tokens[within]), len(self.tokens) - position
        yield read if left >= streams * BLOCK else _cut(read, left)

    def _read(self, position: int, inputs: Tokens) -> Seen:
        """(T, B) symbols, of the B parts of a stretch that begins at a position."""
        ahead = self.ahead
        assert ahead is not None
        log_p, extras = self._step(inputs)
        before = torch.cat([ahead.unsqueeze(0), log_p[:-1]])
        symbols = torch.from_numpy(inputs.astype(np.int64)).to(self.device)
        surprisal = -before.gather(-1, symbols.unsqueeze(-1)).squeeze(-1)
        entropy = -(before.exp() * before).sum(-1)
        found, probability, updates = (extras.get(name) for name in ("boundaries", "probabilities", "updates"))
        return Seen(
            position,
            found=np.zeros((inputs.size, 0), np.bool_) if found is None else _in_order(found).astype(np.bool_),
            probability=None if probability is None else _in_order(probability),
            surprisal=_in_order(surprisal),
            entropy=_in_order(entropy),
            updates=None if updates is None else _in_order(updates).astype(np.bool_),
            norms=_in_order(extras["norms"]) if "norms" in extras else None,
            watched=None if self.watch is None else _in_order(before[..., self.watch]),
        )

    @torch.inference_mode()
    def _step(self, inputs: Tokens) -> tuple[Tensor, dict[str, Tensor]]:
        """Read (T, B) symbols on from the state: log-probabilities of what follows each, (T, B, V), and extras."""
        features, self.state, extras = self.model.features(
            torch.from_numpy(inputs.astype(np.int64)).to(self.device), self.state
        )
        log_p = F.log_softmax(self.model.output.logits(self.model.output_dropout(features)).float(), dim=-1)
        self.ahead = log_p[-1]
        return log_p, extras


def _in_order(values: Tensor) -> npt.NDArray[np.float32]:
    """(T, B, …) to (B·T, …): the parts of a stretch behind each other."""
    ordered: npt.NDArray[np.float32] = values.transpose(0, 1).flatten(0, 1).float().cpu().numpy()
    return ordered


def _cut(seen: Seen, count: int) -> Seen:
    def part(values: npt.NDArray[np.generic] | None) -> npt.NDArray[np.generic] | None:
        return None if values is None else values[:count]

    return Seen(seen.start, *(part(getattr(seen, name)) for name in list(Seen.__dataclass_fields__)[1:]))  # type: ignore[arg-type]
