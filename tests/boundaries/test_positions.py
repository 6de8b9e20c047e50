"""The file of boundaries."""

from __future__ import annotations

import io

import numpy as np

from lsseq.boundaries import Chunk
from lsseq.boundaries.positions import Positions


def test_positions_go_on_over_chunks() -> None:
    found = np.array([[False, False], [True, True], [False, False], [False, True]])
    probability = np.array([[0.1, 0.2], [0.9, 0.75], [0.0, 0.0], [0.5, 1.0]])
    file = io.StringIO()
    positions = Positions(file)
    for part in (slice(0, 1), slice(1, 3), slice(3, 4)):
        positions.add(Chunk(np.zeros(4)[part].astype(int), found[part], probability[part]))
    assert file.getvalue() == "position\tlayer\tprobability\n1\t1\t0.9000\n1\t2\t0.7500\n3\t2\t1.0000\n"


def test_without_probabilities() -> None:
    file = io.StringIO()
    Positions(file).add(Chunk(np.zeros(3, int), np.array([[False], [True], [False]])))
    assert file.getvalue() == "position\tlayer\n1\t1\n"
