"""Statistics of batch normalisation that are taken before each evaluation: of what, when, and after a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import cli_in_process, tiny_model
from torch import Tensor

from lsseq.data.batches import TextWindows, training_windows
from lsseq.nn.parts.statistics import StepNorm, step_norms
from lsseq.recipe.schema import Training
from lsseq.runs import load_run, read_checkpoint, read_metrics
from lsseq.training import recalibration
from lsseq.training.interrupt import Stopped
from lsseq.training.recalibration import recalibrate
from lsseq.training.work import open_work

V, N = 7, 4
TOKENS = np.random.default_rng(2).integers(V, size=95).astype(np.uint8)
NOISE: dict[str, Any] = {"zoneout": {"cell": 0.5, "hidden": 0.3}, "dropout": {"input": 0.5, "output": 0.5}}


def windows_of(kind: Any) -> TextWindows:
    return training_windows(TOKENS, Training(batch=3, bptt=6, steps=1, windows=kind), 0)


def by_hand(model: Any, windows: TextWindows, count: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of W x at each step, averaged over the windows; what is beyond step N counts as the last."""
    means: list[list[Tensor]] = [[] for _ in range(N)]
    variances: list[list[Tensor]] = [[] for _ in range(N)]
    at = 0
    for _ in range(count):
        window = windows.next()
        at = 0 if window.fresh else at
        products = model.embedding(window.batch.inputs, torch.float64) @ first(model)[0].t()
        for product in products:
            means[min(at, N - 1)].append(product.mean(0))
            variances[min(at, N - 1)].append(product.var(0, correction=0))
            at += 1
    mean, variance = (torch.stack([torch.stack(step).mean(0) for step in found]) for found in (means, variances))
    return mean.detach(), variance.detach()


def first(model: Any) -> tuple[Tensor, StepNorm]:
    """The input weights of the lowest layer, and the statistics of what they make."""
    named = dict(model.named_parameters())
    return next(value for name, value in named.items() if "weight_ih" in name), step_norms(model)[0]


@pytest.mark.parametrize("kind", ["stream", "pieces"])
def test_statistics_are_those_of_the_first_windows_without_noise(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalibration, "WINDOWS", 3)
    model = tiny_model(V, norm="batch", norm_steps=N, **NOISE).train()
    windows = windows_of(kind)
    for _ in range(4):
        model(windows.next().batch)
    before, generator = windows.position(), torch.get_rng_state()
    recalibrate(model, windows, torch.device("cpu"))
    assert windows.position() == before
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training
    _, norm = first(model)
    mean, variance = by_hand(model, windows_of(kind), 3)
    torch.testing.assert_close(norm.mean, mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(norm.variance, variance, rtol=1e-10, atol=1e-12)


def test_who_stops_while_they_are_taken_leaves_the_windows_where_they_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    model, windows = tiny_model(V, norm="batch", norm_steps=N), windows_of("stream")
    windows.next()
    before = windows.position()

    def stopped(*_: Any) -> Any:
        raise Stopped

    monkeypatch.setattr(model, "score", stopped)
    with pytest.raises(Stopped):
        recalibrate(model, windows, torch.device("cpu"))
    assert windows.position() == before


def test_a_short_text_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalibration, "WINDOWS", 1000)
    model, windows = tiny_model(V, norm="batch", norm_steps=N), windows_of("stream")
    recalibrate(model, windows, torch.device("cpu"))
    mean, _ = by_hand(model, windows_of("stream"), windows.windows_per_epoch)
    torch.testing.assert_close(first(model)[1].mean, mean, rtol=1e-10, atol=1e-12)


def test_other_models_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = windows_of("stream")
    monkeypatch.setattr(windows, "next", lambda: pytest.fail("a window was read"))
    recalibrate(tiny_model(V, **NOISE), windows, torch.device("cpu"))


@pytest.fixture
def recipe(tmp_path: Path, small_text: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(f"""\
data: {{text: {small_text}}}
model: {{hidden: 12, embedding: 8, norm: batch, norm_steps: 16, zoneout: {{cell: 0.5}}, dropout: {{output: 0.2}}}}
training:
  {{batch: 4, bptt: 16, steps: 12, evaluate_every: 4, log_every: 4, averaging: {{kind: ema, decay: 0.5}}, threads: 1}}
""")
    return path


def lines(run: Path) -> list[dict[str, Any]]:
    timing = ("seconds", "tokens_per_second")
    return [{k: v for k, v in line.items() if k not in timing} for line in read_metrics(run / "metrics.jsonl")]


def test_what_is_evaluated_is_what_is_saved(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lsseq, run = cli_in_process(capsys), tmp_path / "run"
    lsseq("train", recipe, "--run", run)
    best = min((line for line in lines(run) if line["split"] == "valid"), key=lambda line: line["nll"])
    values = json.loads(lsseq("eval", run, "--streams", 8, "--json").stdout)
    assert values["nll"] == pytest.approx(best["nll"], rel=1e-6)
    last = json.loads(lsseq("eval", run, "--streams", 8, "--checkpoint", "last", "--json").stdout)
    assert last["nll"] == pytest.approx(lines(run)[-1]["nll"], rel=1e-6)


def test_a_training_that_was_stopped_goes_on_exactly(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also from a step at which it would not have been evaluated."""
    lsseq, whole, parts = cli_in_process(capsys), tmp_path / "whole", tmp_path / "parts"
    lsseq("train", recipe, "--run", whole)
    for steps in (6, 12):
        lsseq("train", recipe, f"training.steps={steps}", "--run", parts, "--resume")
    assert lines(parts) == lines(whole)
    for name in ("best", "last"):
        tensors = [read_checkpoint(run / "checkpoints" / name)[0]["weights"] for run in (whole, parts)]
        assert any("statistics" in key for key in tensors[0])
        assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])


def test_compressed_weights_have_statistics_of_their_own(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lsseq, run = cli_in_process(capsys), tmp_path / "run"
    lsseq("train", recipe, "training.steps=4", "--run", run)
    lsseq("compress", run, "--rank", 2)
    dense, small = load_run(run), load_run(tmp_path / "run-rank-2")
    written = [norm.mean.clone() for norm in step_norms(small.model)]
    assert not torch.allclose(written[1], step_norms(dense.model)[1].mean)
    recalibrate(small.model, open_work(small.recipe).windows, torch.device("cpu"))
    for norm, mean in zip(step_norms(small.model), written, strict=True):
        torch.testing.assert_close(norm.mean, mean)
