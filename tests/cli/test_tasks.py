"""Tasks from the command line: each is trained, resumed, measured, and refused what makes no sense for it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import cli_in_process

from lsseq.data.corpus import load_corpus
from lsseq.data.prepare import prepare
from lsseq.runs import read_metrics, read_values

Cli = Callable[..., Any]
RunCli = Callable[..., "subprocess.CompletedProcess[str]"]

RECIPE = """\
data: {data}
model:
  {{recurrence: gru, hidden: 12, embedding: 6, reset: before, learned_initial_state: true, dropout: {{output: 0.1}}}}
training: {{batch: 10, lr: 1e-2, steps: 30, log_every: 10, evaluate_every: 15}}
"""

WORDS = {"good": ["fine", "nice", "warm"], "bad": ["poor", "cold", "dull"]}


def labelled(path: Path, rows: int = 80, seed: int = 0) -> Path:
    """A CSV file of a few words each, the label being told by them."""
    draws = np.random.default_rng(seed)
    lines = ["label,text"]
    for row in range(rows):
        label = ("good", "bad")[row % 2]
        lines.append(f"{label},{' '.join(draws.choice(WORDS[label], draws.integers(1, 6)))}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The `data` section of a recipe for each task."""
    folder = tmp_path_factory.mktemp("data")
    text = labelled(folder / "all.csv")
    return {
        "copy": "{task: {kind: copy, delay: 5, examples: 205}}",
        "copy-symbols": "{task: {kind: copy, delay: 5, examples: 205, vary: symbols}}",
        "copy-delay": "{task: {kind: copy, delay: 5, examples: 205, vary: delay}}",
        "adding": "{task: {kind: adding, length: 12, examples: 205}}",
        "classification": f"{{task: classification, text: '{text}', unit: word}}",
    }


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return cli_in_process(capsys)


TASKS = ("copy", "copy-symbols", "copy-delay", "adding", "classification")


def recipe(folder: Path, section: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(RECIPE.format(data=section))
    return path


def losses(run: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "tokens_per_second")}
        for line in read_metrics(run / "metrics.jsonl")
    ]


@pytest.mark.parametrize("task", TASKS)
def test_train_resume_and_eval(task: str, data: dict[str, str], tmp_path: Path, cli: Cli) -> None:
    path, run, cut = recipe(tmp_path, data[task]), tmp_path / "run", tmp_path / "cut"
    printed = json.loads(cli("train", path, "--run", run, "--json").stdout)
    figures = {"mse"} if task == "adding" else {"nll", "accuracy"}
    objective = "mse" if task == "adding" else "nll"
    assert printed["final"].keys() == {"step", *figures}
    assert printed["best"][objective] <= printed["final"][objective]
    lines = losses(run)
    assert [(line["step"], line["split"]) for line in lines] == [
        (10, "train"), (15, "valid"), (20, "train"), (30, "train"), (30, "valid"),
    ]  # fmt: skip
    assert all(objective in line for line in lines)
    assert lines[0][objective] > lines[3][objective]

    # Cut in the middle of an epoch, it goes on to the bit.
    cli("train", path, "--run", cut, "training.steps=13")
    cli("train", "--run", cut, "--resume", "training.steps=30")
    assert losses(cut) == lines
    last = [read_values(folder / "checkpoints" / "last") for folder in (run, cut)]
    assert last[0]["loop"]["windows"] == last[1]["loop"]["windows"]

    values = json.loads(cli("eval", run, "--split", "test", "--json").stdout)
    assert values.keys() == {
        *figures, "sequences", "tokens", "answers", "split", "chance", "solution", "mode", "protocol", "seconds",
        "parameters", "state_size", "flops_per_token",
    }  # fmt: skip
    assert values["chance"].keys() == values["solution"].keys() == figures
    valid = json.loads(cli("eval", run, "--json").stdout)
    assert valid[objective] == pytest.approx(printed["best"][objective], rel=1e-5)
    shown = cli("eval", run).stdout
    assert f"chance {values['chance'][objective]:.6g}" in shown or task == "classification"
    assert "sequences" in shown


@pytest.mark.parametrize("task", ["adding", "classification"])
def test_dry_run(task: str, data: dict[str, str], tmp_path: Path, cli: Cli) -> None:
    printed = json.loads(cli("train", recipe(tmp_path, data[task]), "--dry-run", "--json").stdout)
    assert ("vocabulary_size" in printed) == (task == "classification")
    assert printed["tokens_per_epoch"] > 0
    assert "parameters" in cli("train", recipe(tmp_path, data[task]), "--dry-run").stdout


def test_the_folder_of_a_run(data: dict[str, str], tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "run"
    shown = cli("train", recipe(tmp_path, data["classification"]), "--run", run, "training.steps=2").stdout
    assert "lsseq eval" in shown
    assert "lsseq generate" not in shown
    kept = json.loads((run / "task.json").read_text())
    assert (kept["classes"], kept["symbols"], kept["ignored"]) == (["bad", "good"], True, None)
    assert kept["inputs"] == len(json.loads((run / "vocabulary.json").read_text())["tokens"])


def test_a_model_of_another_form_is_not_measured(data: dict[str, str], tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "run"
    cli("train", recipe(tmp_path, data["adding"]), "--run", run, "training.steps=2")
    kept = json.loads((run / "task.json").read_text())
    assert kept["classes"] is None
    (run / "task.json").write_text(json.dumps(kept | {"classes": []}))
    said = cli("eval", run, check=1).stderr
    assert "was trained on a task of another form: its task.json is not that of its recipe" in said


@pytest.fixture(scope="module")
def trained(data: dict[str, str], tmp_path_factory: pytest.TempPathFactory, run_cli: RunCli) -> Path:
    """A run of a copy task and one of a classification, beside a language model; they are only read."""
    folder = tmp_path_factory.mktemp("trained")
    for task in ("copy", "classification"):
        run_cli("train", recipe(folder, data[task]), "--run", folder / task, "training.steps=5", check=0)
    return folder


@pytest.mark.parametrize("arguments", [("generate",), ("boundaries",), ("eval", "--dynamic"), ("eval", "--cache")])
def test_verbs_for_language_models_refuse(arguments: tuple[str, ...], trained: Path, cli: Cli) -> None:
    verb, *options = arguments
    refused = cli(verb, trained / "copy", *options, check=2)
    said = (
        f"error: {options[0]} is for language models, and {trained / 'copy'} was trained on the task `copy`\n"
        if options
        else f"error: {trained / 'copy'} was trained on the task `copy`; it is no language model\n"
        f"hint: `lsseq eval {trained / 'copy'}` measures it\n"
    )
    assert refused.stderr == said
    assert refused.stdout == ""


def test_eval_of_another_file(trained: Path, tmp_path: Path, cli: Cli) -> None:
    run = trained / "classification"
    values = json.loads(cli("eval", run, "--text", labelled(tmp_path / "new.csv", 30, seed=9), "--json").stdout)
    assert (values["sequences"], values["answers"]) == (30, 30)
    assert "split" not in values
    (tmp_path / "odd.csv").write_text("label,text\ngood,nice\nugly,cold\n")
    refused = cli("eval", run, "--text", tmp_path / "odd.csv", check=2)
    assert f"--> {tmp_path / 'odd.csv'}:3" in refused.stderr
    assert "the labels of the training split are bad, good" in refused.stderr
    refused = cli("eval", trained / "copy", "--text", tmp_path / "odd.csv", check=2)
    assert "--text is for texts with labels" in refused.stderr


def test_a_run_starts_from_another(
    trained: Path, data: dict[str, str], tmp_path: Path, cli: Cli, small_text: Path
) -> None:
    path = recipe(tmp_path, data["copy-delay"])
    cli("train", path, "--run", tmp_path / "from", "--from", trained / "copy", "training.steps=1", "training.lr=1e-12")
    before, after = (json.loads(cli("eval", run, "--json").stdout) for run in (trained / "copy", tmp_path / "from"))
    assert before["sequences"] == after["sequences"] == 1000
    refused = cli("train", path, "--run", tmp_path / "no", "--from", trained / "classification", check=2)
    assert f"{trained / 'classification'} was trained on other classes" in refused.stderr
    language = tmp_path / "language.yaml"
    language.write_text(f"data: {{text: {small_text}}}\nmodel: {{hidden: 4}}\ntraining: {{steps: 1}}\n")
    refused = cli("train", language, "--run", tmp_path / "no", "--from", trained / "copy", check=2)
    assert "it is no language model" in refused.stderr
    cli("train", language, "--run", tmp_path / "language")
    refused = cli("train", path, "--run", tmp_path / "no", "--from", tmp_path / "language", check=2)
    assert "it was trained on no task" in refused.stderr


def test_a_text_that_changed_stops_a_resumed_run(tmp_path: Path, cli: Cli) -> None:
    text = labelled(tmp_path / "all.csv")
    path = recipe(tmp_path, f"{{task: classification, text: '{text}', unit: word}}")
    cli("train", path, "--run", tmp_path / "run", "training.steps=3")
    labelled(tmp_path / "all.csv", seed=1)
    refused = cli("train", "--run", tmp_path / "run", "--resume", "training.steps=6", check=2)
    assert "the text is not the one that" in refused.stderr


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{task: {kind: copy, length: 5}}", "`length` is for the kind `adding` (got `copy`)"),
        ("{task: copi}", "data.task.kind must be `copy`, `adding`, `images` or `classification` (got `copi`)"),
        ("{task: copy, corpus: ptb}", "the task `copy` makes its own sequences, not data.corpus"),
        ("{task: images, text: a.txt}", "the task `images` reads data.corpus or data.dataset, not data.text"),
        ("{task: classification, corpus: ptb}", "reads data.text or data.dataset, not data.corpus"),
        ("{task: classification, text: a, reverse: true}", "data.reverse is for language models, and data.task is"),
        ("{task: {kind: classification}, text: none.csv}", "there is no file none.csv"),
    ],
)  # fmt: skip
def test_bad_recipes(section: str, message: str, tmp_path: Path, cli: Cli) -> None:
    path = recipe(tmp_path, section)
    refused = cli("train", path, "--run", tmp_path / "run", check=2)
    assert message in refused.stderr
    assert f"{path}:1" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_bad_models_are_shown_at_their_line(data: dict[str, str], tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        f"data: {data['copy']}\nmodel:\n  hidden: 8\n  embedding: 8\n  tied: true\ntraining: {{steps: 1}}\n"
    )
    refused = cli("train", path, "--run", tmp_path / "run", check=2)
    assert "`tied` is for language models, and the recipe has a data.task" in refused.stderr
    assert f"{path}:5" in refused.stderr
    checked = cli("recipes", "check", path, check=2)
    assert "`tied` is for language models" in checked.stderr


def test_recipes_check_counts_without_data(data: dict[str, str], tmp_path: Path, cli: Cli) -> None:
    path = recipe(tmp_path, "{task: images, corpus: mnist}")
    (checked,) = json.loads(cli("recipes", "check", path, "--json").stdout)["recipes"]
    H, C = 12, 10
    assert checked["parameters"] == 3 * H * (1 + H) + 6 * H + C * (H + 1) + H
    (checked,) = json.loads(cli("recipes", "check", recipe(tmp_path, data["classification"]), "--json").stdout)[
        "recipes"
    ]
    assert checked == {"name": str(path), "valid": True}


def test_images_of_a_corpus(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried before its corpus is prepared; then trained and measured."""
    monkeypatch.setenv("LSSEQ_DATA", str(tmp_path / "data"))
    path = recipe(tmp_path, "{task: {kind: images, permuted: true}, corpus: mnist}")
    tried = json.loads(cli("train", path, "--dry-run", "--json").stdout)
    assert tried["tokens_per_epoch"] is None
    assert "vocabulary_size" not in tried
    refused = cli("train", path, "--run", tmp_path / "run", check=2)
    assert "the corpus `mnist` is not prepared" in refused.stderr
    small = {split: [bytes(number % 10 for number in range(785 * 20))] for split in ("train", "valid", "test")}
    prepare(replace(load_corpus("mnist"), prepare=lambda _: small, files=(), published=()))
    cli("train", path, "--run", tmp_path / "run", "training.steps=2", "training.evaluate_every=2")
    values = json.loads(cli("eval", tmp_path / "run", "--split", "test", "--json").stdout)
    assert (values["sequences"], values["tokens"], values["answers"]) == (20, 20 * 784, 20)
    assert 0 < values["chance"]["accuracy"] < 1
    assert json.loads(cli("train", path, "--dry-run", "--json").stdout)["parameters"] == tried["parameters"]
    dataless = cli("train", tmp_path / "small.yaml", "data.corpus=python-docs", "--dry-run", check=2)
    assert "the corpus `python-docs` is a text and holds no images" in dataless.stderr


def test_a_killed_run_goes_on(data: dict[str, str], tmp_path: Path, cli: Cli, run_cli: RunCli) -> None:
    """From the last checkpoint, in the middle of an epoch; what was written behind it is cut off."""
    path, run, cut = recipe(tmp_path, data["adding"]), tmp_path / "run", tmp_path / "cut"
    cli("train", path, "--run", run, "training.checkpoint_every=7")
    cli("train", path, "--run", cut, "training.checkpoint_every=7", "training.steps=14")
    with (cut / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "epoch": 0, "split": "train", "mse": 9.0}\n{"step": 2')
    run_cli("train", "--run", cut, "--resume", "training.steps=30", check=0)
    assert losses(cut) == losses(run)
