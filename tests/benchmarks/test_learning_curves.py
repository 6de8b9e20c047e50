"""Learning curves as a picture."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from lsseq.data.tasks import open_task
from lsseq.errors import RequestError
from lsseq.recipe.schema import Data, Task
from lsseq.runs import RunFolder

pytest.importorskip("matplotlib")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "learning_curves.py"


def run_folder(path: Path, task: Literal["adding", "copy"] | None, figures: list[dict[str, float]]) -> str:
    path.mkdir()
    if task:
        open_task(Data(task=Task(kind=task)), Task(kind=task)).save(path)
    data = f"{{task: {task}}}" if task else "{corpus: python-docs}"
    (path / "recipe.yaml").write_text(f"data: {data}\ntraining: {{steps: 1}}\n")
    lines: list[dict[str, Any]] = [{"step": 1, "split": "train", "nll": 9.0, "seconds": 1.0}]
    lines += [{"step": 10 * n, "split": "valid", "seconds": 6.0 * n, **each} for n, each in enumerate(figures, start=1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_a_picture_of_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run_folder(tmp_path / name, "adding", [{"mse": 0.2}, {"mse": 0.01}]) for name in ("a", "b")]
    monkeypatch.setattr(sys, "argv", ["learning_curves.py", *runs, "--png", str(tmp_path / "c.png")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_drawn(tmp_path: Path, script: dict[str, Any]) -> None:
    run = RunFolder.open(run_folder(tmp_path / "copy", "copy", [{"nll": 0.2, "accuracy": 0.5}]))
    assert script["curve_of"](run) == [{"step": 10, "split": "valid", "seconds": 6.0, "nll": 0.2, "accuracy": 0.5}]
    assert script["levels_of"](run, "accuracy") == {"chance": 0.125, "solution": 1.0}
    text = RunFolder.open(run_folder(tmp_path / "text", None, [{"nll": 2.0, "bpc": 3.0}]))
    assert script["levels_of"](text, "bpc") == {}
    assert script["common_metric"]([script["curve_of"](each) for each in (run, text)]) == "nll"
    with pytest.raises(RequestError, match="no figure in common"):
        script["common_metric"]([script["curve_of"](run), []])
