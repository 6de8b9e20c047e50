"""Scores: against their definitions in loops, over seams of chunks, and worked by hand."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from boundary_scores import line_ends, peak_places, places, rank_correlation, scores, units
from hypothesis import given, settings
from hypothesis import strategies as st

from lsseq.boundaries import Chunk, Scorer, best_offsets, gold_rates, score
from lsseq.boundaries.score import scores_of


def chunk_of(T: int, seed: int, *, lines: bool, breaks: bool, predicted: bool) -> Chunk:
    """A random text of few symbols, two detectors and two levels; degrees are multiples of 1/64."""
    draw = np.random.default_rng(seed)
    rate = draw.uniform(0, 1)
    probability = draw.integers(0, 65, (T, 2)) / 64
    return Chunk(
        symbols=draw.integers(0, 3, T),
        found=probability > rate,
        probability=probability,
        gold={"words": draw.random(T) < rate, "phrases": draw.random(T) < 0.2},
        ends=draw.random(T) < 0.1 if lines else None,
        outside=draw.random(T) < 0.1 if breaks else None,
        surprisal=draw.integers(0, 6, T) / 2 if predicted else None,
        entropy=draw.integers(0, 6, T) / 2 if predicted else None,
        updates=draw.random((T, 3)) < 0.5,
        others={"two_way": draw.random(T) < 0.3},
    )


def cut(chunk: Chunk, start: int, stop: int) -> Chunk:
    def part(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: one[start:stop] for key, one in value.items()}
        return None if value is None else value[start:stop]

    return Chunk(**{one.name: part(getattr(chunk, one.name)) for one in fields(Chunk)})


chunks = st.builds(
    chunk_of,
    st.integers(1, 40),
    st.integers(0, 2**32),
    lines=st.booleans(),
    breaks=st.booleans(),
    predicted=st.booleans(),
)


def close(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            close(ours[key], theirs[key])
    else:
        assert ours == (theirs if theirs is None else pytest.approx(theirs, rel=1e-12, abs=1e-12))


@settings(deadline=None, max_examples=40)
@given(chunks, st.sampled_from([None, -1, 0, 1]))
def test_every_score_is_its_definition(chunk: Chunk, offset: int | None) -> None:
    whole = score(chunk).values
    best = None if offset is None else dict.fromkeys(scores_of(whole), offset)
    values = score(chunk, best).values
    for level, gold in chunk.gold.items():
        detectors: dict[Any, tuple[set[int], list[float]]] = {}
        for d in (0, 1):
            detectors[d] = places(chunk.found[:, d]), chunk.probability[:, d].tolist()  # type: ignore[index]
        everywhere = set(range(len(chunk)))
        detectors["always"] = everywhere, [1.0] * len(chunk)
        two_way = chunk.others["two_way"]
        detectors["two_way"] = places(two_way), two_way.astype(float).tolist()
        for name, curve in (("surprisal", chunk.surprisal), ("entropy", chunk.entropy)):
            if curve is not None:
                detectors[name] = peak_places(curve), [*curve[1:].tolist(), 0.0]
        got = scores_of(values)
        for name, (fires, degree) in detectors.items():
            close(got[name, level], scores(chunk, fires, degree, places(gold), offset))


@settings(deadline=None, max_examples=40)
@given(chunks)
def test_what_a_layer_does_is_its_definition(chunk: Chunk) -> None:
    report = score(chunk)
    T, ends = len(chunk), line_ends(chunk)
    assert report.values["characters"] == T
    assert report.values["updates"] == pytest.approx(np.mean(chunk.updates, axis=0).tolist())  # type: ignore[arg-type]
    for d, layer in enumerate(report.values["layers"]):
        fires = places(chunk.found[:, d])
        lengths = [last - first + 1 for first, last in units(chunk, fires | ends)]
        assert layer["rate"] == len(fires) / T
        assert layer["compression"] == (T / len(fires) if fires else None)
        assert layer["mean_length"] == (pytest.approx(np.mean(lengths)) if lengths else None)
        assert report.lengths[d][:41] == [lengths.count(n) for n in range(41)]
        if d == 1:
            below = places(chunk.found[:, 0])
            assert layer["nesting"] == (len(fires & below) / len(fires) if fires else None)
        for name, curve in (("surprisal", chunk.surprisal), ("entropy", chunk.entropy)):
            if curve is not None:
                theirs = rank_correlation(chunk.found[:, d].astype(float).tolist(), curve.tolist())
                close(layer["correlation"][name], theirs)


@settings(deadline=None, max_examples=40)
@given(chunks, st.lists(st.integers(0, 40), max_size=8))
def test_chunks_give_what_the_whole_gives(chunk: Chunk, seams: list[int]) -> None:
    bounds = [0, *sorted(min(seam, len(chunk)) for seam in seams), len(chunk)]
    parts = [cut(chunk, start, stop) for start, stop in pairwise(bounds)]
    rates = gold_rates(parts)
    assert rates == gold_rates([chunk])
    scorer = Scorer(rates)
    for part in parts:
        scorer.add(part)
    assert scorer.report() == score(chunk)
    assert scorer.report() == score(chunk)  # asking twice counts nothing twice


def letters(text: str, found: str, gold: str, **more: Any) -> Chunk:
    """Symbols, and for each whether a boundary follows it (`|`)."""
    marks = {"found": found, "gold": gold}
    assert all(len(one) == len(text) for one in marks.values())
    bools = {name: np.array([mark == "|" for mark in one]) for name, one in marks.items()}
    symbols = np.array([ord(letter) for letter in text])
    return Chunk(symbols, bools["found"][:, None], gold={"words": bools["gold"]}, **more)


def test_worked_by_hand() -> None:
    # the|cat|sat in truth, the|c|atsat found: one of two found is right, and one of two is found; the text's end is
    # no boundary. Tokens: {the, c, atsat} and {the, cat, sat} share one of three.
    values = score(letters("thecatsat", "..||.....", "..|..|..|")).values
    words = values["layers"][0]["levels"]["words"]
    assert words["offset"]["0"] == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        # No over-segmentation: r1 = 1/2, r2 = -1/2 / √2.
        "r_value": pytest.approx(1 - (0.5 + 0.5 / 2**0.5) / 2),
        "over_segmentation": 0.0,
    }
    assert words["best_offset"] == 0
    assert words["token_f1"] == pytest.approx(1 / 3)
    assert words["type_f1"] == pytest.approx(1 / 3)
    assert values["layers"][0]["rate"] == pytest.approx(2 / 9)
    assert values["layers"][0]["mean_length"] == 3  # the, c, atsat
    assert values["layers"][0]["compression"] == 4.5
    # Always on: 8 found, 2 right.
    assert values["baselines"]["always"]["words"]["offset"]["0"]["precision"] == 0.25
    assert values["baselines"]["always"]["words"]["offset"]["0"]["over_segmentation"] == 3.0


def test_a_detector_one_symbol_late_is_right_at_offset_minus_one() -> None:
    late = score(letters("thecatsat", "...|..|..", "..|..|...")).values["layers"][0]["levels"]["words"]
    assert late["best_offset"] == -1
    assert late["offset"]["-1"]["f1"] == 1.0
    assert late["offset"]["0"]["f1"] == 0.0
    assert late["token_f1"] == late["type_f1"] == late["average_precision"] == 1.0
    early = score(letters("thecatsat", ".|..|....", "..|..|...")).values["layers"][0]["levels"]["words"]
    assert early["best_offset"] == 1
    assert early["offset"]["1"]["f1"] == 1.0


def test_ends_of_lines_are_neither_gold_nor_found() -> None:
    text, gold = "ab\nab\n", ".|..|."
    breaks = np.array([letter == "\n" for letter in text])
    # Fires after each b, at each line break, and nowhere inside a word: nothing counts, and both tokens
    # are right: ab and ab.
    values = score(letters(text, ".||.||", gold, outside=breaks)).values
    words = values["layers"][0]["levels"]["words"]
    nothing = {"precision": None, "recall": None, "f1": None, "r_value": None, "over_segmentation": None}
    assert words["offset"]["0"] == nothing
    assert words["token_f1"] == 1.0
    assert words["average_precision"] is None
    assert values["layers"][0]["rate"] == pytest.approx(4 / 6)
    # One symbol late, what fires at a line break falls on the end of the line.
    late = score(letters(text, "..|..|", gold, outside=breaks)).values["layers"][0]["levels"]["words"]
    assert late["offset"]["-1"] == nothing


def test_r_value_of_always_on() -> None:
    # 7 gold boundaries of 40 places, 0.175: over-segmentation 33/7, the value of the R-value near -3.
    gold = np.zeros(41, np.bool_)
    gold[np.arange(7) * 5] = True
    chunk = Chunk(np.zeros(41, int), np.ones((41, 1), np.bool_), gold={"words": gold})
    zero = score(chunk).values["layers"][0]["levels"]["words"]["offset"]["0"]
    over = 33 / 7
    assert zero["r_value"] == pytest.approx(1 - (over + over / 2**0.5) / 2)
    assert zero["f1"] == pytest.approx(2 * 0.175 / 1.175)


def test_the_quoted_offset_is_chosen_elsewhere() -> None:
    valid = letters("thecatsat", "...|..|..", "..|..|...")
    test = letters("thecatsat", "..|..|...", "..|..|...")
    best = best_offsets(score(valid).values)
    quoted = score(test, best).values["layers"][0]["levels"]["words"]
    assert quoted["best_offset"] == -1
    assert quoted["offset"]["0"]["f1"] == 1.0
    assert quoted["token_f1"] == pytest.approx(0.0)


def test_keys_are_those_of_the_contract() -> None:
    values = score(chunk_of(30, 0, lines=True, breaks=False, predicted=True)).values
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert list(values) == ["characters", "layers", "updates", "gold", "baselines"]
    assert values["gold"] == ["words", "phrases"]
    assert set(values["baselines"]) == {"always", "stride", "random", "surprisal", "entropy", "two_way"}
    assert set(values["layers"][0]) == {"rate", "mean_length", "compression", "correlation", "levels"}
    assert set(values["layers"][1]) - set(values["layers"][0]) == {"nesting"}
    for one in scores_of(values).values():
        assert list(one) == ["offset", "best_offset", "token_f1", "type_f1", "average_precision"]
        assert list(one["offset"]) == ["-1", "0", "1"]


def test_without_gold_and_without_detectors() -> None:
    report = score(Chunk(np.arange(5), np.zeros((5, 0), np.bool_)))
    assert report.values == {"characters": 5, "layers": []}
    assert Scorer().report().values == {"characters": 0, "layers": []}


def test_faults_of_the_caller() -> None:
    with pytest.raises(ValueError, match=r"`gold.words` has 4 symbols and `symbols` 5"):
        Chunk(np.arange(5), np.zeros((5, 1), np.bool_), gold={"words": np.zeros(4, np.bool_)})
    bare = Chunk(np.arange(5), np.zeros((5, 1), np.bool_))
    with pytest.raises(ValueError, match="gold of \\[\\], and rates of \\['words'\\]"):
        Scorer({"words": 0.1}).add(bare)
    scorer = Scorer()
    scorer.add(bare)
    with pytest.raises(ValueError, match="the same fields"):
        scorer.add(Chunk(np.arange(5), np.zeros((5, 1), np.bool_), surprisal=np.zeros(5)))


def test_a_unit_that_never_ends_takes_no_memory() -> None:
    scorer = Scorer({"words": 0.0})
    T = 1 << 16
    chunk = Chunk(np.zeros(T, np.uint8), np.zeros((T, 1), np.bool_), gold={"words": np.zeros(T, np.bool_)})
    scorer.add(chunk)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(8):
        scorer.add(chunk)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < T
    words = scorer.report().values["layers"][0]["levels"]["words"]
    assert words["token_f1"] == words["type_f1"] == 1.0
