"""Seeds of one recipe are taken together, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lsseq.comparison import grouped, read_row, single


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
