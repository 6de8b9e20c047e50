"""Stacks and recurrent highway networks from the command line: training, exact resume, more steps at evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_run import cli_in_process, make_run, tiny_recipe

from lsseq import load
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


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "run"
    make_run(folder, tiny_recipe(small_text))
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(small_text.read_text()[:300])
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


def test_draws_of_the_noise_do_not_draw_a_number_of_steps_that_is_given(
    recipe: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lsseq = cli_in_process(capsys)
    lsseq("train", recipe, *MODELS["tied"], "--run", tmp_path / "tied")
    options = ("--text", text, "--samples", 3, "--json")
    assert json.loads(lsseq("eval", tmp_path / "tied", *options).stdout)["disagreement"] > 0
    refused = lsseq("eval", tmp_path / "tied", *options, "--steps", 2, check=2)
    assert refused.stderr.startswith("error: --samples: the model has no noise")
    lsseq("train", recipe, *MODELS["rhn"], "--run", tmp_path / "rhn")
    values = json.loads(lsseq("eval", tmp_path / "rhn", *options, "--steps", 1).stdout)
    assert (values["steps"], values["samples"]) == (1, 3)


def test_a_curve_over_steps(recipe: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lsseq = cli_in_process(capsys)
    for name in ("tied", "rhn"):
        run, png = tmp_path / name, tmp_path / f"{name}.png"
        lsseq("train", recipe, *MODELS[name], "--run", run)
        values = json.loads(lsseq("eval", run, "--text", text, "--steps", "1,4,6,4", "--png", png, "--json").stdout)
        plain = json.loads(lsseq("eval", run, "--text", text, "--json").stdout)
        assert set(values) == {*plain, "anytime"}
        assert values["nll"] == plain["nll"]
        assert [row["steps"] for row in values["anytime"]] == [1, 4, 6]
        for row in values["anytime"]:
            alone = json.loads(lsseq("eval", run, "--text", text, "--steps", row["steps"], "--json").stdout)
            assert {key: row[key] for key in row if key != "seconds"} == {
                key: alone[key]
                for key in ("steps", "nll", "perplexity", "bpc", "parameters", "state_size", "flops_per_token")
            }
        flops = [row["flops_per_token"] for row in values["anytime"]]
        assert flops[2] - flops[1] == pytest.approx((flops[1] - flops[0]) * 2 / 3)
        assert png.read_bytes().startswith(b"\x89PNG")
        shown = lsseq("eval", run, "--text", text, "--steps", "1,4").stdout.splitlines()
        assert [line.split(" nll")[0].strip() for line in shown[-2:]] == ["1 step", "4 steps"]
        assert f"{flops[0]:,} FLOPs a token; " in shown[-2]


def test_columns_of_a_fractal(recipe: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lsseq = cli_in_process(capsys)
    run, png = tmp_path / "run", tmp_path / "columns.png"
    lsseq("train", recipe, *MODELS["fractal"], "--run", run)
    plain = json.loads(lsseq("eval", run, "--text", text, "--json").stdout)
    values = json.loads(lsseq("eval", run, "--text", text, "--column", "all", "--png", png, "--json").stdout)
    assert values["nll"] == plain["nll"]
    short, long = values["anytime"]
    assert (short["column"], long["column"]) == (1, 2)
    alone = json.loads(lsseq("eval", run, "--text", text, "--column", 1, "--json").stdout)
    assert set(alone) == {*plain, "column"}
    assert all(alone[key] == short[key] for key in short if key != "seconds")
    trained = load(run)
    trained.model.recurrence.stack = trained.model.recurrence.stack.column(1)
    assert short["perplexity"] == trained.perplexity(text.read_text())
    layer = 2 * (2 * 4 * 12 * 12)
    assert long["flops_per_token"] - short["flops_per_token"] == layer
    assert values["flops_per_token"] - short["flops_per_token"] == 2 * layer
    assert (short["state_size"], long["state_size"], values["state_size"]) == (24, 48, 72)
    assert short["parameters"] < long["parameters"] < values["parameters"]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "1 stream; column 1 alone\n" in lsseq("eval", run, "--text", text, "--column", 1).stdout
    both = json.loads(lsseq("eval", run, run, "--text", text, "--column", 1, "--json").stdout)
    assert both["nll"] == pytest.approx(short["nll"], rel=1e-6)
    assert both["parameters"] == 2 * short["parameters"]


def test_tasks_have_depths_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lsseq, recipe, png = cli_in_process(capsys), tmp_path / "task.yaml", tmp_path / "steps.png"
    recipe.write_text(
        "data: {task: {kind: adding, length: 8, examples: 205}}\n"
        "model: {hidden: 4, stack: {kind: tied}}\ntraining: {batch: 4, steps: 1, evaluate_every: 1}\n"
    )
    lsseq("train", recipe, "--run", tmp_path / "run")
    values = json.loads(lsseq("eval", tmp_path / "run", "--steps", "2,4", "--png", png, "--json").stdout)
    assert [row["steps"] for row in values["anytime"]] == [2, 4]
    assert values["anytime"][1]["mse"] == values["mse"] != values["anytime"][0]["mse"]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "\n2 steps     mse " in lsseq("eval", tmp_path / "run", "--steps", "2,4").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "2"], "--steps 2: the model has no layers that are repeated"),
        (["--column", "1"], "--column 1: the model has no columns: its stack is not fractal"),
        (["--column", "all"], "--column 1: the model has no columns: its stack is not fractal"),
        (["--steps", "0"], "Invalid value for '--steps': '0' is not a number from 1 on, nor several with commas"),
        (["--column", "1,x"], "Invalid value for '--column': '1,x' is not a number from 1 on, nor several with commas"),
        (["--steps", "all"], "--steps all: there is no largest number of steps"),
        (["--steps", "1,2", "--column", "all"], "one of --steps and --column takes several numbers, not both"),
        (
            ["--steps", "1,2", "--samples", "2"],
            "--steps takes one number beside several runs, --samples, --exact, --dynamic, --cache and --tokens",
        ),
    ],
)
def test_depths_that_a_model_does_not_have(
    options: list[str], message: str, plain_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = cli_in_process(capsys)("eval", plain_run, *options, check=2)
    assert refused.stderr.splitlines()[0] == f"error: {message}"
    assert refused.stdout == ""


def test_a_column_that_is_not_there(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lsseq = cli_in_process(capsys)
    lsseq("train", recipe, *MODELS["fractal"], "training.steps=1", "--run", tmp_path / "run")
    refused = lsseq("eval", tmp_path / "run", "--column", 3, check=2)
    assert refused.stderr == "error: --column 3: column should be in range [1, 2], got 3\n"


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("fractal", ("--column", 1), "error: --column 1: the initial state was learned for all columns together\n"),
        ("tied", ("--steps", 9), "error: the initial state was learned, for 8 parts of it, and more layers than in"),
    ],
)
def test_learned_initial_states_are_those_of_training(
    name: str, option: tuple[Any, ...], message: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lsseq, options = cli_in_process(capsys), ("model.learned_initial_state=true", "training.steps=1")
    lsseq("train", recipe, *MODELS[name], *options, "--run", tmp_path / "run")
    assert lsseq("eval", tmp_path / "run", *option, check=2).stderr.startswith(message)
