"""`lsseq eval` as a user runs it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import cli_in_process, make_run, tiny_recipe

from lsseq.data import sources
from lsseq.data.corpus import Corpus

Cli = Callable[..., Any]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return cli_in_process(capfd)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    make_run(folder, tiny_recipe(small_text), scale=10)
    return folder


def test_json_has_the_keys_of_the_interface(run: Path, run_cli: Cli) -> None:
    values = json.loads(run_cli("eval", run, "--split", "test", "--json", check=0).stdout)
    assert set(values) == {
        *("nll", "perplexity", "bpc", "split", "tokens", "characters", "mode", "protocol", "seconds"),
        *("parameters", "state_size", "flops_per_token"),
    }
    assert values["perplexity"] == math.exp(values["nll"])
    assert (values["split"], values["mode"]) == ("test", "deterministic")
    assert values["protocol"] == "state carried, 1 stream"


def test_tokens_of_a_text_and_the_table(run: Path, cli: Cli, tmp_path: Path) -> None:
    text, tokens = tmp_path / "text.txt", tmp_path / "tokens.tsv"
    text.write_text("a name\n b\n")
    result = cli("eval", run, "--text", text, "--tokens", tokens, "--window", "3", check=0)
    rows = [line.split("\t") for line in tokens.read_text().splitlines()]
    assert [name for name, _ in rows] == [*"a name", "\\n", *" b", "\\n"]
    mean = sum(float(bits) for _, bits in rows) / len(rows)
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["nll", "perplexity", "bpc"]
    assert float(lines[2].split()[1]) == pytest.approx(mean, rel=1e-4)
    assert lines[3].startswith(f"{text}: 10 tokens, 10 characters; ")
    assert lines[4] == "deterministic; state carried, 1 stream"
    assert re.fullmatch(r"[\d,]+ parameters; state of 32 numbers; [\d,]+ FLOPs a token", lines[5])


def test_modes_and_the_evaluation_keys(run: Path, cli: Cli) -> None:
    def nll(*args: str) -> float:
        return float(json.loads(cli("eval", run, *args, "--json", check=0).stdout)["nll"])

    static = nll()
    assert nll("--cache", "evaluation.cache.weight=0.0") == pytest.approx(static, rel=1e-6)
    assert nll("--dynamic", "evaluation.dynamic.lr=1e-3", "--streams", "4") < static


def test_expected_is_compared(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    expected = [
        {"metric": "bpc", "split": "valid", "value": 0.5, "tolerance": 0.1},
        {"metric": "nll", "split": "test", "value": 5.0, "tolerance": 100.0, "steps": 1},
        {"metric": "nll", "split": "test", "value": 6.0, "tolerance": 100.0, "steps": 2},
    ]
    make_run(tmp_path / "run", tiny_recipe(small_text, expected=expected))
    valid = json.loads(cli("eval", tmp_path / "run", "--json", check=0).stdout)
    assert valid["expected"] == [expected[0]]
    assert valid["met"] is False
    test = cli("eval", tmp_path / "run", "--split", "test", check=0).stdout
    assert [line for line in test.splitlines() if line.startswith("expected")] == ["expected    nll 5.0 ± 100.0: met"]


def test_a_figure_is_expected_after_as_many_steps_as_were_made(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    expected = [{"metric": "nll", "split": "valid", "value": 5.0, "tolerance": 100.0, "steps": 9}]
    recipe = tiny_recipe(small_text, expected=expected, training={"steps": 9})
    make_run(tmp_path / "run", recipe)  # which stopped after one
    assert "expected" not in json.loads(cli("eval", tmp_path / "run", "--json", check=0).stdout)


def test_runs_may_have_names_like_keys(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    runs = [tmp_path / "lr=0.1", tmp_path / "lr=0.2"]
    for seed, run in enumerate(runs):
        make_run(run, tiny_recipe(small_text), seed=seed)
    values = json.loads(cli("eval", *runs, "evaluation.window=30", "--json", check=0).stdout)
    assert [one["run"] for one in values["runs"]] == [str(run) for run in runs]


def test_a_text_that_was_changed_after_training_is_refused(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_bytes(small_text.read_bytes())
    path = tmp_path / "small.yaml"
    path.write_text(f"data: {{text: {text}}}\nmodel: {{hidden: 8}}\ntraining: {{steps: 2, batch: 4, bptt: 8}}\n")
    cli("train", path, "--run", run, check=0)
    before = cli("eval", run, "--split", "test", "--json", check=0).stdout
    # What was for training is now the test split.
    text.write_bytes(small_text.read_bytes()[: len(small_text.read_bytes()) // 2])
    message = f"error: the text is not the one that the model was trained on: {text}\n"
    for args in (("eval", run, "--split", "test"), ("eval", run, "--dynamic"), ("boundaries", run, "--split", "test")):
        assert cli(*args, check=2).stderr.startswith(message if args[0] == "eval" else "error: ")
    cli("compare", run, "--test")
    assert not (run / "test.json").exists()
    cli("eval", run, "--text", text, check=0)
    text.write_bytes(small_text.read_bytes())
    after = json.loads(cli("eval", run, "--split", "test", "--json", check=0).stdout)
    assert after["nll"] == json.loads(before)["nll"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--split", "test", "--text", "x"], "error: --split and --text exclude each other: one text is measured"),
        (
            ["--dynamic", "--cache"],
            "error: several runs, --samples, --exact, --dynamic and --cache exclude each other",
        ),
        (["model.hidden=3"], "error: `model.hidden=3` cannot be changed after training"),
        (["another-run"], "error: there is no run `another-run`"),
        (["--text", "no-such-file"], "error: there is no file `no-such-file`"),
        (["--text", "."], "error: `.` is a folder"),
        (["--tokens", "no-such-folder/x"], "error: there is no folder `no-such-folder` for --tokens"),
        (["evaluation.cache.wieght=1"], "error: unknown key `evaluation.cache.wieght`"),
    ],
)
def test_wrong_requests(args: list[str], message: str, run: Path, cli: Cli) -> None:
    result = cli("eval", run, *args, check=2)
    assert result.stderr.splitlines()[0] == message
    assert result.stdout == ""


def test_what_copying_saved(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    make_run(tmp_path / "run", tiny_recipe(small_text, model={"recurrence": "hm-lstm", "layers": 2}))
    values = json.loads(cli("eval", tmp_path / "run", "--streams", 3, "--json", check=0).stdout)
    assert values["flops_per_token_measured"] < values["flops_per_token"]
    shown = cli("eval", tmp_path / "run", "--streams", 3, check=0).stdout
    assert f"FLOPs a token ({values['flops_per_token_measured']:,} on this text)" in shown
    dynamic = json.loads(cli("eval", tmp_path / "run", "--cache", "--json", check=0).stdout)
    assert "flops_per_token_measured" not in dynamic


def test_faults_of_runs_and_texts(run: Path, cli: Cli, tmp_path: Path, small_text: Path) -> None:
    assert "error: there is no run `no-such-run`" in cli("eval", "no-such-run", check=2).stderr
    text = tmp_path / "text.txt"
    text.write_text("a\nbé\n", encoding="utf-8")
    result = cli("eval", run, "--text", text, check=2)
    assert result.stderr.splitlines()[0].startswith("error: 'é' (U+00E9) at line 2, column 2 is not in the vocabulary")
    make_run(tmp_path / "broken", tiny_recipe(small_text))
    weights = next((tmp_path / "broken" / "checkpoints" / "best").glob("weights-*"))
    weights.write_bytes(weights.read_bytes()[:100])
    result = cli("eval", tmp_path / "broken", check=1)
    assert str(weights) in result.stderr


def test_a_text_without_its_spaces(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    make_run(tmp_path / "run", tiny_recipe(small_text, data={"strip_spaces": True}))
    (tmp_path / "text.txt").write_text("The  cat\n")
    args = ("eval", tmp_path / "run", "--text", tmp_path / "text.txt", "--tokens", tmp_path / "tokens.tsv", "--json")
    values = json.loads(cli(*args, check=0).stdout)
    assert (values["tokens"], values["characters"]) == (7, 7)
    lines = (tmp_path / "tokens.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [*"Thecat", "\\n"]


def test_a_corpus_without_splits_says_so(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Corpus("whole", "d", "l", "c", lambda _: {"train": [b"a b\n" * 20]})
    monkeypatch.setattr(sources, "load_corpus", lambda _: whole)
    make_run(tmp_path / "run", tiny_recipe(tmp_path, data={"text": None, "corpus": "whole"}))
    values = json.loads(cli("eval", tmp_path / "run", "--json", check=0).stdout)
    assert values["protocol"] == "state carried, 1 stream; in sample: the corpus has no splits"
