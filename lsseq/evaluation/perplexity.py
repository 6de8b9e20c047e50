"""How well a model predicts a split or a text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lsseq.data import Split, Vocabulary
from lsseq.data.batches import evaluation_windows
from lsseq.errors import RequestError
from lsseq.evaluation.figures import figures
from lsseq.evaluation.reading import Reader, StaticReader, Tokenwise, read_all
from lsseq.model.base import SequenceModel
from lsseq.processes.group import ALONE, Processes
from lsseq.recipe import schema


def measure_split(
    model: SequenceModel,
    split: Split,
    vocabulary: Vocabulary,
    evaluation: schema.Evaluation,
    *,
    streams: int,
    device: torch.device | str,
    reader: Reader | None = None,
    keep: Tokenwise | None = None,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Predict every token of a split once and sum up.

    The state is carried from the first token of a stream to its last. What is computed at once (`evaluation.window`)
    does not change the figures; every stream beyond the first begins from the initial state, which costs a little on
    short splits.

    Args:
        model: it is in evaluation mode meanwhile and afterwards as it was.
        split: the tokens, and the size of the text that they stand for.
        vocabulary: what the tokens are.
        evaluation: `window` and `pieces` are read here.
        streams: parts read side by side.
        device: where the model is.
        reader: how the text is read; the static model by default.
        keep: takes the nll of every token that this process predicts.
        processes: they share the streams; each returns the figures of the whole.

    Returns:
        The figures of `lsseq.evaluation.figures`, `tokens`, and `characters` where the text has characters.

    Raises:
        RequestError: the text is empty.
    """
    tokens = len(split.tokens)
    if tokens == 0:
        raise RequestError("there is nothing to measure: the text is empty")
    chosen: Reader = reader or StaticReader(model)
    windows = evaluation_windows(
        split.tokens,
        vocabulary.start,
        streams=min(streams, tokens),
        window=chosen.window or evaluation.window,
        pieces=evaluation.pieces,
    )
    with evaluating(model):
        nll_sum = read_all(chosen, windows, device, keep, processes)
    values: dict[str, Any] = {**split_figures(nll_sum, split, vocabulary), "tokens": tokens}
    if split.characters is not None:
        values["characters"] = split.characters
    return values


def split_figures(nll_sum: float, split: Split, vocabulary: Vocabulary) -> dict[str, float]:
    """The figures of `lsseq.evaluation.figures` for nats of all tokens of a split together."""
    return figures(
        nll_sum,
        len(split.tokens),
        unit=vocabulary.unit,
        lossless=vocabulary.lossless,
        characters=split.characters,
        text_bytes=split.bytes,
    )


def protocol(evaluation: schema.Evaluation, streams: int) -> str:
    """In words, what happens to the state, without which a figure cannot be compared."""
    if evaluation.pieces is not None:
        return f"pieces of {evaluation.pieces}, each from the initial state"
    if streams == 1:
        return "state carried, 1 stream"
    return f"state carried, {streams} streams, each from the initial state"


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and afterwards as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
