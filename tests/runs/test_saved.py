"""What a checkpoint says of its training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lsseq.errors import RunError
from lsseq.runs import read_saved, write_checkpoint
from lsseq.runs.saved import Clock, Saved

VALUES: dict[str, Any] = {
    "step": 3,
    "epoch": 1,
    "tokens": 90,
    "best": {"step": 2, "nll": 0.5, "bpc": None},
    "loop": {"clock": {"total": 2, "aside": 0.5}, "windows": [1, "x"]},
    "of a later version": {},
}


def test_it_comes_back(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {}, VALUES)
    found = read_saved(tmp_path)
    assert (found.step, found.epoch, found.tokens, found.best) == (3, 1, 90, VALUES["best"])
    assert found.loop.clock == Clock(total=2.0, aside=0.5)
    assert found.final is None


def test_little_is_needed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {}, {"step": 1, "epoch": 0, "best": {"nll": math.inf}})
    assert read_saved(tmp_path) == Saved(step=1, epoch=0, best={"nll": math.inf})


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("step", None, "step: "),
        ("step", "3", "step: "),
        ("step", -1, "step: "),
        ("step", 2**63, "step: "),
        ("epoch", 1.5, "epoch: "),
        ("best", [1], "best: "),
        ("best", {"nll": "x"}, "best.nll"),
        ("best", {"nll": [1.0]}, "best.nll"),
        ("final", {"nll": {}}, "final.nll"),
        ("loop", {"clock": {"total": "x", "aside": 0}}, "loop.clock.total: "),
        ("loop", {"clock": {"total": math.nan, "aside": 0}}, "loop.clock.total: "),
        ("loop", {"clock": {"total": 1, "aside": -1}}, "loop.clock.aside: "),
        ("loop", 5, "loop: "),
    ],
)
def test_something_else_is_named(tmp_path: Path, key: str, value: object, place: str) -> None:
    write_checkpoint(tmp_path, {}, json.loads(json.dumps(VALUES | {key: value})))
    with pytest.raises(RunError) as caught:
        read_saved(tmp_path)
    assert caught.value.message.startswith(f"the checkpoint is damaged: {tmp_path}: {place}")
