"""Reading a text of any length with a language model, for its boundaries: parts in the order of the text.

A text comes in stretches of any size and is read in blocks. With one stream the state is carried from the first symbol
to the last. With several, a block is cut into parts that are read side by side, each from the initial state some
symbols (the warm-up) before its beginning, so that it has forgotten where it began; the first block is always read in
one stream.

Shape letters: N symbols of the text, T steps, B streams, D layers with a detector, L layers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from lsseq.boundaries.chunk import Bools, Chunk, Floats
from lsseq.data.batches import START
from lsseq.data.stretches import Feed, Stretch
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
    text: Stretch
    """The symbols, with their gold."""
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

    def chunk(self) -> Chunk:
        """The stretch as it is scored."""
        gold = self.text.gold
        return Chunk(
            symbols=self.text.tokens,
            found=self.found,
            probability=self.probability,
            gold={} if gold is None else gold.levels,
            ends=None if gold is None else gold.ends,
            outside=None if gold is None else gold.outside,
            surprisal=self.surprisal,
            entropy=self.entropy,
            updates=self.updates,
        )


def read(
    model: LanguageModel,
    text: Iterable[Stretch],
    start: int | None,
    *,
    streams: int = 1,
    device: torch.device | str = "cpu",
    watch: int | None = None,
) -> Iterator[Seen]:
    """Read a text.

    Args:
        model: in evaluation mode, on `device`.
        text: all of it.
        start: the token before the first one; None for a vector of zeros.
        streams: parts of a block that are read side by side.
        device: where the model is.
        watch: a token whose probability is told at every symbol.
    """
    streams = max(1, min(streams, _LOGITS // (BLOCK * model.vocabulary_size)))
    reader = _Reader(model, START if start is None else start, device, watch)
    feed = Feed(text)
    if (first := feed.take(BLOCK)) is not None:
        yield reader.first(first)
    while (stretch := feed.take(BLOCK * streams)) is not None:
        yield reader.on(stretch) if streams == 1 else reader.side_by_side(stretch)


class _Reader:
    """Reads the stretches of a text in order, and keeps where it stands."""

    def __init__(self, model: LanguageModel, start: int, device: torch.device | str, watch: int | None) -> None:
        self.model, self.start, self.device, self.watch = model, start, device, watch
        self.position = 0
        self.state: State = None
        self.ahead: Tensor | None = None
        """(B, V): the log-probabilities of the symbol that comes next."""
        self.last: Tokens = np.empty(0, np.int64)
        """The last symbols, enough for a warm-up."""

    def first(self, text: Stretch) -> Seen:
        """The beginning of the text, from the initial state."""
        self._step(np.full((1, 1), self.start))
        return self.on(text)

    def on(self, text: Stretch) -> Seen:
        """What follows the stretch that was read last."""
        return self._read(text, text.tokens.reshape(-1, 1))

    def side_by_side(self, text: Stretch) -> Seen:
        """The same in parts of `BLOCK` symbols, each after a warm-up; the last part may be shorter."""
        starts = np.arange(0, len(text), BLOCK)
        before = np.concatenate([self.last, text.tokens])
        self.state = None
        self._step(before[starts + np.arange(WARM_UP)[:, None]])
        return self._read(text, text.tokens[np.minimum(starts + np.arange(BLOCK)[:, None], len(text) - 1)])

    def _read(self, text: Stretch, inputs: Tokens) -> Seen:
        """Its symbols as (T, B) inputs, the B parts of the stretch; the last part may go on beyond the end."""
        ahead = self.ahead
        assert ahead is not None
        log_p, extras = self._step(inputs)
        before = torch.cat([ahead.unsqueeze(0), log_p[:-1]])
        symbols = torch.from_numpy(inputs.astype(np.int64)).to(self.device)
        surprisal = -before.gather(-1, symbols.unsqueeze(-1)).squeeze(-1)
        entropy = -(before.exp() * before).sum(-1)
        found, probability, updates = (extras.get(name) for name in ("boundaries", "probabilities", "updates"))
        size, position = len(text), self.position
        self.position, self.last = position + size, text.tokens[-WARM_UP:]
        return Seen(
            position,
            text,
            found=np.zeros((size, 0), np.bool_) if found is None else _in_order(found, size).astype(np.bool_),
            probability=None if probability is None else _in_order(probability, size),
            surprisal=_in_order(surprisal, size),
            entropy=_in_order(entropy, size),
            updates=None if updates is None else _in_order(updates, size).astype(np.bool_),
            norms=_in_order(extras["norms"], size) if "norms" in extras else None,
            watched=None if self.watch is None else _in_order(before[..., self.watch], size),
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


def _in_order(values: Tensor, size: int) -> npt.NDArray[np.float32]:
    """(T, B, …) to (size, …): the parts of a stretch behind each other."""
    ordered: npt.NDArray[np.float32] = values.transpose(0, 1).flatten(0, 1)[:size].float().cpu().numpy()
    return ordered
