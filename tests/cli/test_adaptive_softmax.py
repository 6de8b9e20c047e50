"""A model of words with an adaptive softmax through every verb."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import Finished, cli_in_process

import lsseq
from lsseq.data import open_text
from lsseq.runs import read_metrics

Cli = Callable[..., Finished]

RECIPE = """\
data: {{text: {text}, unit: word}}
model: {{hidden: 32, embedding: 16, adaptive_softmax: [50, 200], dropout: {{output: 0.1}}}}
training: {{batch: 4, bptt: 15, steps: 30, lr: 1e-2, log_every: 5, evaluate_every: 15}}
evaluation: {{window: 50}}
"""


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return cli_in_process(capfd)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "adaptive.yaml"
    path.write_text(RECIPE.format(text=small_text))
    return path


@pytest.fixture
def run(recipe: Path, tmp_path: Path, cli: Cli) -> Path:
    folder = tmp_path / "run"
    cli("train", recipe, "--run", folder)
    return folder


def lines(run: Path) -> list[dict[str, Any]]:
    return [{name: line[name] for name in ("step", "split", "nll")} for line in read_metrics(run / "metrics.jsonl")]


def test_it_learns_and_resumes_to_the_bit(recipe: Path, run: Path, tmp_path: Path, cli: Cli) -> None:
    losses = [line["nll"] for line in lines(run) if line["split"] == "train"]
    assert losses[-1] < losses[0]
    stopped = tmp_path / "stopped"
    cli("train", recipe, "--run", stopped, "training.steps=15")
    cli("train", "--run", stopped, "--resume", "training.steps=30")
    assert lines(stopped) == lines(run)


def test_every_way_to_measure(run: Path, tmp_path: Path, cli: Cli) -> None:
    surprisals = tmp_path / "surprisals"
    static = json.loads(cli("eval", run, "--split", "test", "--json", "--tokens", surprisals).stdout)
    bits = np.array([float(line.rpartition("\t")[2]) for line in surprisals.read_text().splitlines()])
    assert bits.mean() * np.log(2) == pytest.approx(static["nll"], rel=1e-5)
    by_hand = -whole_distribution(run)
    assert static["nll"] == pytest.approx(by_hand.mean().item(), rel=1e-5)
    for mode in ("dynamic", "cache"):
        nll = json.loads(cli("eval", run, "--split", "test", "--json", f"--{mode}").stdout)["nll"]
        assert 0 < nll < static["nll"]


def whole_distribution(run: Path) -> torch.Tensor:
    """log p of each token of the test split, taken from p of all words."""
    trained = lsseq.load(run, device="cpu")
    tokens = torch.from_numpy(open_text(trained.recipe.data).splits["test"].tokens.astype(np.int64))
    read = torch.cat([torch.tensor([trained.vocabulary.start]), tokens[:-1]])
    with torch.inference_mode():
        log_p = trained.model.logits(read.unsqueeze(1))[0][:, 0]
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(len(tokens)))
    return log_p.gather(1, tokens.unsqueeze(1))


def test_text_and_a_trial(recipe: Path, run: Path, tmp_path: Path, cli: Cli) -> None:
    options = ("--json", "--seed", 1, "--length", 20)
    texts = [
        json.loads(cli("generate", run, *options, *more).stdout)["text"]
        for more in ((), (), ("--top-k", 1), ("--temperature", 0))
    ]
    assert texts[0] == texts[1] != texts[2]
    assert texts[2] == texts[3]
    trial = json.loads(cli("train", recipe, "--dry-run", "--json").stdout)
    assert trial["parameters"] == sum(weight.numel() for weight in lsseq.load(run).model.parameters())


def test_faults_are_shown_in_the_recipe(recipe: Path, cli: Cli) -> None:
    message = cli("train", recipe, "model.adaptive_softmax=[50, 100000]", "--dry-run", check=2).stderr
    assert message.startswith("error: the last cutoff (100000) must be below the ")
    assert "model.adaptive_softmax=[50, 100000]" in message
    message = cli("train", recipe, "model.hidden=8", "--dry-run", check=2).stderr
    assert message.startswith("error: 2 cutoffs need an output of at least 16 units (got 8)")
    assert f"{recipe}:2\n" in message
