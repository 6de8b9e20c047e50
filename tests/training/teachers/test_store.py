"""Teachers that are kept say the same afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import tiny_recipe

from lsseq.data import open_text
from lsseq.training.teachers import school_of, training_marks

WORDS = ("ab", "cde", "fgh", "ij")


@pytest.mark.parametrize("keys", [{}, {"lexicon": 2}, {"pairs": 2}])
@pytest.mark.parametrize("target", ["two-way-surprise", "two-way-line-ends"])
def test_what_they_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, int], target: str) -> None:
    monkeypatch.setenv("LSSEQ_DATA", str(tmp_path / "data"))
    draw = np.random.default_rng(3)
    lines = [" ".join(draw.choice(WORDS, draw.integers(1, 6))) for _ in range(300)]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    teachers = {"hidden": 12, "embedding": 6, "steps": 40, **keys}
    recipe = tiny_recipe(
        tmp_path / "text.txt",
        data={"strip_spaces": True},
        model={
            "recurrence": "hm-lstm",
            "layers": 3,
            "boundary": {"target": target, "delay": 1, "teachers": teachers},
        },
    )
    data, device = open_text(recipe.data), torch.device("cpu")
    tokens = data.splits["train"].tokens
    first = training_marks(recipe, data, device)
    assert first is not None
    assert first.shape == (len(tokens), 2)
    assert first.any(0).all()
    kept = training_marks(recipe, data, device)
    assert kept is not None
    assert (kept == first).all()
    # One token later than the boundaries.
    marks = school_of(recipe, data, device).marks(tokens)
    assert (marks[:-1] == first[1:]).all()
    assert not first[0].any()
