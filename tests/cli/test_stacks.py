"""Stacks and recurrent highway networks from the command line: training, exact resume, more steps at evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_run import cli_in_process

from lsseq.runs import read_metrics

MODELS = {
    "stochastic depth": (
        "model.layers=3",
        "model.stack.kind=residual",
        "model.stack.stochastic_depth={over: batch, state: freeze}",
    ),
    "tied": ("model.stack=tied", "model.stack.random_steps={mean: 2, most: 4}", "model.stack.state=freeze"),
    "fractal": ("model.stack.kind=fractal", "model.stack.columns=2", "model.stack.drop_path={over: batch}"),
    "rhn": ("model.recurrence=rhn", "model.rhn={tied: true, random_steps: {}}", "model.dropout.state=0.1"),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    path = tmp_path_factory.mktemp("stacks") / "small.yaml"
    path.write_text(f"""\
data: {{text: {small_text}}}
model: {{hidden: 12, embedding: 8}}
training: {{batch: 4, bptt: 16, steps: 8, evaluate_every: 4, checkpoint_every: 4, log_every: 4, threads: 1}}
""")
    return path


def lines(run: Path) -> list[dict[str, Any]]:
    timing = ("seconds", "tokens_per_second")
    return [{k: v for k, v in line.items() if k not in timing} for line in read_metrics(run / "metrics.jsonl")]


@pytest.mark.parametrize("name", list(MODELS))
def test_a_training_that_was_stopped_goes_on_exactly(
    name: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lsseq = cli_in_process(capsys)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    lsseq("train", recipe, *MODELS[name], "--run", whole)
    lsseq("train", recipe, *MODELS[name], "training.steps=4", "--run", parts)
    lsseq("train", "--run", parts, "--resume", "training.steps=8")
    assert lines(parts) == lines(whole)
    assert len(lines(whole)) == 4


def test_more_steps_at_evaluation(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lsseq = cli_in_process(capsys)
    lsseq("train", recipe, *MODELS["tied"], "--run", tmp_path / "run")
    figures = {}
    for steps in (None, 1, 4, 6):
        options = [] if steps is None else ["--steps", steps]
        figures[steps] = json.loads(lsseq("eval", tmp_path / "run", "--json", *options).stdout)
        assert figures[steps].get("steps") == steps
    assert figures[4]["nll"] == figures[None]["nll"]
    assert len({figures[steps]["nll"] for steps in (1, 4, 6)}) == 3
    told = lsseq("eval", tmp_path / "run", "--steps", 2).stdout
    assert "1 stream; layers repeated 2 times\n" in told


def test_models_without_repeated_layers_have_no_steps(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lsseq = cli_in_process(capsys)
    lsseq("train", recipe, "training.steps=1", "--run", tmp_path / "run")
    refused = lsseq("eval", tmp_path / "run", "--steps", 2, check=2)
    assert refused.stderr == "error: --steps 2: the model has no layers that are repeated\n"
