"""metrics.jsonl: exact numbers, cut back at a resume, readable while its last line is torn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lsseq.errors import RunError
from lsseq.runs import Metrics, read_metrics


def test_lines_come_back_exactly(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    lines = [{"step": 1, "nll": 0.1 + 0.2}, {"step": 2, "nll": 1 / 3, "split": "train"}]
    for line in lines:
        metrics.append(line)
    assert read_metrics(tmp_path / "metrics.jsonl") == lines


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.append({"nll": math.nan, "perplexity": math.inf})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"nll": None, "perplexity": None}


def test_resuming_cuts_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path)
    metrics.append({"step": 1})
    position = metrics.sync()
    metrics.append({"step": 2})
    metrics.close()
    metrics = Metrics(path, position)
    metrics.append({"step": 3})
    metrics.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]


def test_a_file_shorter_than_the_checkpoint_says(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    with pytest.raises(RunError) as caught:
        Metrics(path, 100)
    assert caught.value.message == f"{path} is damaged: it holds 12 bytes, and the checkpoint was saved after 100"
    assert path.read_text() == '{"step": 1}\n'


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "nl')
    assert read_metrics(path) == [{"step": 1}]


@pytest.mark.parametrize("line", [b"{oops}", b"3", b"\xff"])
def test_damage_before_the_end_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(RunError) as caught:
        read_metrics(path)
    assert str(caught.value) == f"error: this line is not a JSON object\n  --> {path}:2"
