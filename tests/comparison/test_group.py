"""Seeds of one recipe are taken together, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lsseq.comparison import Row, alike, grouped, ranked, read_row, single
from lsseq.comparison.group import Section, sections


def test_finished_seeds_are_one_group(trained: Path) -> None:
    first, second, hm = (read_row(trained / name) for name in ("lstm-1", "lstm-2", "hm"))
    groups = grouped([first, hm, second])
    assert [group.rows for group in groups] == [[first, second], [hm]]
    values = groups[0].values()
    assert (values["recipe"], values["seeds"]) == ("tiny-lstm", [1, 2])
    a, b = (row.best["bpc"] for row in (first, second) if row.best)
    assert a != b
    assert values["best"]["bpc"] == {
        "mean": pytest.approx((a + b) / 2),
        "sd": pytest.approx(abs(a - b) / 2**0.5),
        "n": 2,
    }
    assert "test" not in values
    assert groups[1].values()["best"]["bpc"]["sd"] is None


@pytest.mark.parametrize("change", [{"status": "stopped"}, {"status": "damaged"}, {"recipe": None}])
def test_what_is_not_finished_stands_alone(trained: Path, change: dict[str, object]) -> None:
    first, second = (read_row(trained / f"lstm-{seed}") for seed in (1, 2))
    assert len(grouped([first, replace(second, **change)])) == 2  # type: ignore[arg-type]


def test_another_model_is_another_group(trained: Path) -> None:
    first, second = (read_row(trained / f"lstm-{seed}") for seed in (1, 2))
    assert second.recipe is not None
    other = second.recipe.model_copy(update={"model": second.recipe.model.model_copy(update={"hidden": 17})})
    assert len(grouped([first, replace(second, recipe=other)])) == 2
    assert len(single([first, second])) == 2


def run(row: Row, name: str, corpus: str, **figures: float) -> Row:
    assert row.recipe is not None
    data = row.recipe.data.model_copy(update={"corpus": corpus, "text": None})
    recipe = row.recipe.model_copy(update={"data": data, "published": [], "expected": []})
    return replace(row, run=Path(name), recipe=recipe, published_by=recipe, best={**figures} or None, test=None)


def test_the_best_stand_first_of_those_that_compare(trained: Path) -> None:
    row = read_row(trained / "lstm-1")
    rows = [
        run(row, "young", "a"),
        run(row, "lost", "a", bpc=float("nan")),
        run(row, "worse", "a", bpc=2.0),
        run(row, "other", "b", bpc=1.0),
        run(row, "words", "a", perplexity=90.0),
        run(row, "best", "a", bpc=1.5),
        run(row, "unsure", "c", accuracy=0.5),
        run(row, "sure", "c", accuracy=0.9),
        run(row, "alone", "d"),
    ]
    found = {section: [str(group.first.run) for group in inside] for section, inside in sections(single(rows)).items()}
    assert found == {
        Section("a", "bpc"): ["best", "worse", "lost", "young"],
        Section("a", "perplexity"): ["words"],
        Section("b", "bpc"): ["other"],
        Section("c", "accuracy"): ["sure", "unsure"],
        Section("d", None): ["alone"],
    }
    assert [str(group.first.run) for group in ranked(single(rows))] == [
        name for names in found.values() for name in names
    ]
    assert [str(section) for section in found][-2:] == ["c: accuracy", "d"]


def test_bytes_show_bits_a_byte_and_beside_characters_bits_a_character(trained: Path) -> None:
    row = read_row(trained / "lstm-1")
    read_as_bytes = {"nll": 1.5, "bpc": 2.3, "bpb": 2.2}
    rows = [
        run(row, "bytes", "a", **read_as_bytes),
        run(row, "more bytes", "b", **read_as_bytes),
        run(row, "characters", "a", nll=1.4, bpc=2.1),
        run(row, "words", "b", nll=4.0, perplexity=90.0),
    ]
    shown = {str(row.run): (row.metric, row.best_figure()) for row in alike(rows)}
    assert shown == {
        "bytes": ("bpc", 2.3),
        "more bytes": ("bpb", 2.2),
        "characters": ("bpc", 2.1),
        "words": ("perplexity", 90.0),
    }
