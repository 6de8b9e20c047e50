"""Units over seams, and lexicons of constant size."""

from __future__ import annotations

import numpy as np
import pytest

from lsseq.boundaries import units
from lsseq.boundaries.units import Cutter, Types


def lexicon(types: range) -> Types:
    """Each number a unit of three digits to the base 64."""
    symbols = np.array([[n >> 12, n >> 6 & 63, n & 63] for n in types])
    cuts = np.tile([False, False, True], len(symbols))
    found = Types()
    found.add(symbols.reshape(-1), cuts, np.zeros(len(cuts), np.bool_))
    return found


def test_names_tell_units_apart_wherever_the_seams_are() -> None:
    symbols = np.frombuffer(b"abbaabbababa", np.uint8)
    cuts = np.zeros(12, np.bool_)
    cuts[[1, 3, 5, 7, 10, 11]] = True  # ab ba ab ba bab a
    none = np.zeros(12, np.bool_)
    whole, lengths = Cutter().cut(symbols, cuts, none)
    assert lengths.tolist() == [2, 2, 2, 2, 3, 1]
    assert whole[0] == whole[2]
    assert whole[1] == whole[3]
    assert len(set(whole.tolist())) == 4
    for seam in range(13):
        cutter = Cutter()
        parts = [cutter.cut(symbols[part], cuts[part], none[part]) for part in (slice(seam), slice(seam, None))]
        assert np.concatenate([names for names, _ in parts]).tolist() == whole.tolist()
        assert np.concatenate([lengths for _, lengths in parts]).tolist() == lengths.tolist()


def test_a_large_lexicon_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = lexicon(range(30000)).f1(lexicon(range(10000, 60000)))
    assert exact == 2 * 20000 / (30000 + 50000)
    monkeypatch.setattr(units, "MOST", 8192)
    one, other = lexicon(range(30000)), lexicon(range(10000, 60000))
    assert len(one._names) <= 8192
    assert one.f1(other) == pytest.approx(exact, abs=0.02)
    assert lexicon(range(10)).f1(lexicon(range(10))) == 1.0
