"""From a sum of negative log-likelihoods to the figures that people compare."""

from __future__ import annotations

import math

FIGURES = ("nll", "perplexity", "bpc", "bpb", "accuracy", "mse")
"""F of the JSON interface: the names of all figures that a text or a task may have."""


def figures(
    nll_sum: float, tokens: int, *, unit: str, lossless: bool, characters: int | None, text_bytes: int
) -> dict[str, float]:
    """The figures of a text that was predicted token by token.

    - `nll`: nats per token, which is what training minimises.
    - `perplexity`: exp(nll), the number of equally likely tokens that would be as hard to guess; infinite where it is
      too large for a float. It depends on what a token is: figures of different vocabularies do not compare.
    - `bpc`: bits per character of the text as the corpus gives it. What all characters cost together is divided by
      their number, whatever units they were read in, so figures of characters, bytes and sentencepiece pieces compare.
      Absent where the units lose the text, as words do.
    - `bpb`: bits per byte, for bytes: the `bpc` that papers quote for corpora read as bytes, such as enwik8.

    Args:
        nll_sum: nats of all tokens together.
        tokens: how many there are, at least one.
        unit: `char`, `byte`, `word` or `sentencepiece`.
        lossless: the tokens give the text back exactly.
        characters: Unicode code points of the text; None where it is not text.
        text_bytes: bytes of the text.
    """
    nll = nll_sum / tokens
    values = {"nll": nll, "perplexity": _exp(nll)}
    bits = nll_sum / math.log(2)
    if lossless and characters:
        values["bpc"] = bits / characters
    if unit == "byte":
        values["bpb"] = bits / text_bytes
    return values


def _exp(nll: float) -> float:
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf
