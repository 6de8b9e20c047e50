"""Test splits are measured once; what is kept counts for the weights that it is of, and harms nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trained_runs import contents, train_tiny

import lsseq
from lsseq.comparison import read_row
from lsseq.comparison.held_out import measure_test
from lsseq.errors import RequestError
from lsseq.evaluation.interval import share_interval
from lsseq.recipe import load_recipe
from lsseq.runs import RunFolder, files
from lsseq.training.session import train_recipe


def test_the_figure_is_that_of_eval_and_stands_beside_the_run(runs: Path) -> None:
    run = runs / "lstm-1"
    row, before = read_row(run), contents(run)
    assert row.test is None
    assert row.recipe is not None
    measured = measure_test(RunFolder(run), row.recipe)
    evaluated = lsseq.load(run).evaluate("test")
    assert {key: measured[key] for key in evaluated if key != "seconds"} == {
        key: value for key, value in evaluated.items() if key != "seconds"
    }
    for name in ("nll", "perplexity", "bpc"):
        low, high = measured["interval"][name]
        assert low < measured[name] < high
    assert "blocks of" in measured["interval_method"]
    assert read_row(run).test == measured
    after = contents(run)
    assert after.pop("test.json")
    assert after == before


def test_figures_of_other_weights_or_settings_do_not_count(runs: Path) -> None:
    run = runs / "lstm-1"
    row = read_row(run)
    assert row.recipe is not None
    measure_test(RunFolder(run), row.recipe)
    kept = run / "test.json"
    whole = kept.read_text(encoding="utf-8")
    assert read_row(run).test is not None
    recipe = (run / "recipe.yaml").read_text(encoding="utf-8")
    (run / "recipe.yaml").write_text(recipe.replace("  streams: 1\n", "  streams: 2\n"), encoding="utf-8")
    assert read_row(run).test is None
    (run / "recipe.yaml").write_text(recipe, encoding="utf-8")
    other_weights = whole.replace(json.loads(whole)["of"]["weights"], "0" * 64)
    no_figure = json.dumps(json.loads(whole) | {"figures": {"nll": "x"}})
    no_interval = json.dumps(json.loads(whole) | {"figures": {"nll": 1.0, "interval": {"nll": 5}}})
    for broken in ("", "[]", "{}", other_weights, no_figure, no_interval):
        kept.write_text(broken, encoding="utf-8")
        assert read_row(run).test is None


def test_a_folder_that_cannot_be_written_is_measured_all_the_same(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(files, "replace", refuse)
    row = read_row(runs / "hm")
    assert row.recipe is not None
    assert measure_test(RunFolder(row.run), row.recipe)["bpc"] > 0
    assert not (runs / "hm/test.json").exists()


def test_draws_and_dynamic_evaluation_are_kept_beside_the_plain_figures(tmp_path: Path, small_text: Path) -> None:
    run = tmp_path / "noisy"
    train_tiny(run, small_text, "model.zoneout.cell=0.5")
    row = read_row(run)
    assert row.recipe is not None
    assert (row.samples, row.dynamic) == (None, None)
    plain = measure_test(RunFolder(run), row.recipe)
    drawn = measure_test(RunFolder(run), row.recipe, "samples", 3)
    followed = measure_test(RunFolder(run), row.recipe, "dynamic")
    after = read_row(run)
    assert (after.test, after.samples, after.dynamic) == (plain, drawn, followed)
    assert drawn["samples"] == 3
    assert drawn["deterministic"]["nll"] == pytest.approx(plain["nll"], rel=1e-12)
    assert after.draw_figure() == drawn["single"]["bpc"] > drawn["bpc"] == after.samples_figure()
    trained = lsseq.load(run)
    assert after.dynamic_figure() == pytest.approx(trained.evaluate("test", mode="dynamic")["bpc"], rel=1e-12)
    assert followed["bpc"] != plain["bpc"]


def test_a_model_without_noise_has_no_draws(runs: Path) -> None:
    row = read_row(runs / "lstm-1")
    assert row.recipe is not None
    with pytest.raises(RequestError, match="no noise"):
        measure_test(RunFolder(row.run), row.recipe, "samples", 3)
    assert not (row.run / "test-samples.json").exists()


RECIPE = """\
data: {{task: classification, text: '{text}', unit: word}}
model: {{hidden: 8, embedding: 4}}
training: {{batch: 10, steps: 3}}
"""


def test_a_task_has_the_interval_of_its_answers(tmp_path: Path) -> None:
    text = tmp_path / "all.csv"
    rows = [f"{('good', 'bad')[row % 2]},{('fine', 'poor', 'so so')[row % 3]}" for row in range(80)]
    text.write_text("\n".join(["label,text", *rows]) + "\n", encoding="utf-8")
    recipe = tmp_path / "task.yaml"
    recipe.write_text(RECIPE.format(text=text), encoding="utf-8")
    train_recipe(load_recipe(recipe), tmp_path / "run")
    row = read_row(tmp_path / "run")
    assert (row.metric, row.corpus) == ("accuracy", "classification")
    assert row.recipe is not None
    measured = measure_test(RunFolder(tmp_path / "run"), row.recipe)
    assert measured["interval"]["accuracy"] == list(share_interval(measured["accuracy"], measured["answers"]))
    assert "Wilson" in measured["interval_method"]
    with pytest.raises(RequestError, match="language models"):
        measure_test(RunFolder(tmp_path / "run"), row.recipe, "dynamic")
    assert read_row(tmp_path / "run").test_figure() == measured["accuracy"]
