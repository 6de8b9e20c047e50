"""Detectors that are taught, from the command line: teachers, training, resume, scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import cli_in_process

from lsseq.runs import read_metrics, read_values

WORDS = ("ab", "cde", "fgh", "ij")
RECIPE = """\
data: {{text: {text}, strip_spaces: true}}
model:
  recurrence: hm-lstm
  layers: 2
  hidden: 24
  embedding: 8
  boundary:
    target: two-way-surprise
    delay: 1
    teachers: {{hidden: 16, embedding: 8, steps: 150, dropout: 0.0}}
training: {{batch: 8, bptt: 20, steps: 60, lr: 5e-3, log_every: 10, evaluate_every: 30, clip: 1.0}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    draw = np.random.default_rng(3)
    lines = [" ".join(draw.choice(WORDS, draw.integers(1, 6))) for _ in range(1200)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    (folder / "taught.yaml").write_text(RECIPE.format(text=folder / "text.txt"))
    return folder


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder with no teachers in it."""
    monkeypatch.setenv("LSSEQ_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def lines(run: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "tokens_per_second")}
        for line in read_metrics(run / "metrics.jsonl")
    ]


def test_from_teachers_to_scores(folder: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lsseq = cli_in_process(capsys)
    recipe, run = folder / "taught.yaml", tmp_path / "run"
    trained = lsseq("train", recipe, "training.steps=200", "--run", run)
    assert "teacher 1 of level 1: reads tokens forward, 150 steps in " in trained.stderr
    assert "teacher 2 of level 1: reads tokens backward, 150 steps in " in trained.stderr
    told = [line["teaching_loss"] for line in lines(run) if line["split"] == "train"]
    assert told[-1] < 0.2 < told[0]

    printed = lsseq("boundaries", run, "--split", "test", "--json")
    assert "teacher" not in printed.stderr
    values = json.loads(printed.stdout)
    baselines = values["baselines"]
    assert set(baselines) == {"always", "stride", "random", "surprisal", "entropy", "two_way"}
    assert baselines["two_way"]["words"]["offset"]["0"]["f1"] > 0.9
    scores = values["layers"][0]["levels"]["words"]
    assert scores["best_offset"] == -1
    assert scores["offset"]["-1"]["f1"] > 0.9

    # A text of its own, and teachers that were lost and are trained again.
    (tmp_path / "own.txt").write_text("ab cde\nfgh ij\n" * 40)
    own = ("boundaries", run, "--text", tmp_path / "own.txt", "--json")
    before = json.loads(lsseq(*own).stdout)
    shutil.rmtree(data / "teachers")
    again = lsseq(*own)
    assert "teacher 1" in again.stderr
    assert json.loads(again.stdout) == before
    assert before["baselines"]["two_way"]["words"]["offset"]["0"]["recall"] > 0.9


def test_a_run_goes_on_to_the_bit_with_teachers_or_without(
    folder: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lsseq = cli_in_process(capsys)
    recipe = folder / "taught.yaml"
    quick = ("model.boundary.teachers.steps=20", "training.log_every=1")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert "teacher" in lsseq("train", recipe, *quick, "--run", whole).stderr
    assert "teacher" not in lsseq("train", recipe, *quick, "training.steps=30", "--run", parts).stderr
    shutil.rmtree(data / "teachers")
    assert "teacher" in lsseq("train", "--run", parts, "--resume", "training.steps=60").stderr
    assert lines(parts) == lines(whole)
    # Another seed has other teachers.
    assert "teacher" in lsseq("train", recipe, *quick, "--run", tmp_path / "other", "--seed", "2").stderr


def test_damaged_teachers_are_trained_again(
    folder: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lsseq = cli_in_process(capsys)
    quick = ("model.boundary.teachers.steps=2", "training.steps=2")
    lsseq("train", folder / "taught.yaml", *quick, "--run", tmp_path / "one")
    (kept,) = (data / "teachers").glob("*/marks-*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert "teacher" in lsseq("train", folder / "taught.yaml", *quick, "--run", tmp_path / "two").stderr
    assert lines(tmp_path / "one") == lines(tmp_path / "two")


def test_two_levels(folder: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lsseq = cli_in_process(capsys)
    run = tmp_path / "run"
    keys = ("model.layers=3", "model.boundary.teachers.steps=30", "training.steps=3")
    trained = lsseq("train", folder / "taught.yaml", *keys, "--run", run)
    assert "teacher 2 of level 2: reads units backward" in trained.stderr
    values = json.loads(lsseq("boundaries", run, "--json").stdout)
    assert {"two_way", "two_way_2"} <= set(values["baselines"])


def test_a_dry_run_trains_no_teachers(folder: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial = cli_in_process(capsys)("train", folder / "taught.yaml", "--dry-run", "--json")
    assert "teacher" not in trial.stderr
    assert not (data / "teachers").exists()
    assert json.loads(trial.stdout)["parameters"] > 0
    shown = cli_in_process(capsys)("train", folder / "taught.yaml", "--dry-run").stdout
    assert shown.endswith(", evaluations and teachers not counted\n")


def test_own_surprise_needs_no_teachers(
    folder: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lsseq = cli_in_process(capsys)
    run = tmp_path / "run"
    keys = ("model.boundary.target=own-surprise", "training.steps=10")
    assert "teacher" not in lsseq("train", folder / "taught.yaml", *keys, "--run", run).stderr
    assert not (data / "teachers").exists()
    assert all("teaching_loss" in line for line in lines(run) if line["split"] == "train")
    assert "two_way" not in json.loads(lsseq("boundaries", run, "--json").stdout)["baselines"]


def test_a_text_that_is_gone_leaves_the_teachers_out(
    folder: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lsseq = cli_in_process(capsys)
    text = tmp_path / "text.txt"
    shutil.copy(folder / "text.txt", text)
    run = tmp_path / "run"
    keys = (f"data.text={text}", "model.boundary.teachers.steps=2", "training.steps=2")
    lsseq("train", folder / "taught.yaml", *keys, "--run", run)
    text.unlink()
    (tmp_path / "own.txt").write_text("ab cde\nfgh ij\n")
    printed = lsseq("boundaries", run, "--text", tmp_path / "own.txt", "--json")
    assert "note: the teachers are not scored, since their text is not at hand" in printed.stderr
    assert "two_way" not in json.loads(printed.stdout)["baselines"]
    assert read_values(run / "checkpoints" / "last")["step"] == 2


@pytest.mark.parametrize(
    ("override", "messages"),
    [
        ("model.boundary.delay=2", ["model.boundary.delay must be `0` or `1` (got 2)"]),
        ("model.boundary.target=surprise", ["model.boundary.target", "own-surprise"]),
        ("model.recurrence=lstm", ["the recurrence `lstm` has no `boundary.target`"]),
        ("model.layers=1", ["an HM-LSTM of one layer has no detector to be taught"]),
        ("model.boundary.teachers.steps=0", ["model.boundary.teachers.steps"]),
    ],
)
def test_bad_keys(
    folder: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], override: str, messages: list[str]
) -> None:
    result = cli_in_process(capsys)("train", folder / "taught.yaml", override, "--run", tmp_path / "run", check=2)
    assert all(message in result.stderr for message in messages), result.stderr
    assert "teacher 1" not in result.stderr


def test_line_ends_need_lines(folder: Path, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text((folder / "text.txt").read_text().replace("\n", " "))
    keys = (f"data.text={text}", "model.boundary.target=two-way-line-ends")
    result = cli_in_process(capsys)("train", folder / "taught.yaml", *keys, "--run", tmp_path / "run", check=2)
    assert "`two-way-line-ends` needs a text with lines, and this one has none" in result.stderr
