"""Boundaries as a file, written while the text is read.

A line of names, then one line for each boundary in the order of the text, with tabs between:

    position  layer  probability
    6         1      0.9731

`position` counts the symbols from 0: a unit ends after that symbol. `layer` counts from 1, the lowest. `probability` is
the detector's, and the column is absent where it is not known.
"""

from __future__ import annotations

from typing import TextIO

import numpy as np

from lsseq.boundaries.chunk import Chunk


class Positions:
    """Writes the boundaries of a text to an open file; the chunks are added in order."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._start = 0
        self._headed = False

    def add(self, chunk: Chunk) -> None:
        if not self._headed:
            self._file.write("position\tlayer" + ("" if chunk.probability is None else "\tprobability") + "\n")
            self._headed = True
        symbol, layer = np.nonzero(chunk.found)
        places = zip((symbol + self._start).tolist(), (layer + 1).tolist(), strict=True)
        if chunk.probability is None:
            self._file.writelines(f"{position}\t{index}\n" for position, index in places)
        else:
            probability = chunk.probability[symbol, layer].tolist()
            self._file.writelines(
                f"{position}\t{index}\t{value:.4f}\n"
                for (position, index), value in zip(places, probability, strict=True)
            )
        self._start += len(chunk)
