"""Surprisal of every token of a text, in bits, as a file.

One token a line: its text, a tab, and -log2 p(token | all before it). In the text a backslash is written `\\\\`, a
line feed `\\n`, a tab `\\t`, a carriage return `\\r`, and any other character that does not print `\\xNN`, `\\uNNNN`
or `\\UNNNNNNNN`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from lsseq.data import Vocabulary

_SHORT = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def bits(nll: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Nats to bits."""
    return nll / math.log(2)


def escaped(text: str) -> str:
    """The text of a token on one line and without tabs."""
    return "".join(map(_escape, text))


def _escape(symbol: str) -> str:
    if symbol in _SHORT:
        return _SHORT[symbol]
    return symbol if symbol.isprintable() else symbol.encode("unicode_escape").decode("ascii")


def write_surprisals(
    path: Path,
    vocabulary: Vocabulary,
    tokens: Iterable[int],
    nll: Iterable[np.ndarray[tuple[int], np.dtype[np.float64]]],
) -> None:
    """Write the file; `nll` in nats, in the order of `tokens`, in pieces of any length."""
    names = [escaped(vocabulary.token(index)) for index in range(len(vocabulary))]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        values = chain.from_iterable(bits(piece) for piece in nll)
        file.writelines(f"{names[int(token)]}\t{value:.6f}\n" for token, value in zip(tokens, values, strict=True))
