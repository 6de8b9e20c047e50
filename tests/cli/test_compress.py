"""`lsseq compress` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_run import cli_in_process, make_run, tiny_recipe

from lsseq.compression import compress
from lsseq.recipe import load_recipe
from lsseq.runs import load_run, read_checkpoint, read_metrics, write_checkpoint
from lsseq.training import session

Cli = Callable[..., Any]
RunCli = Callable[..., "subprocess.CompletedProcess[str]"]
FIGURES = {"nll", "perplexity", "bpc"}
COSTS = {"parameters", "flops_per_token"}


class StopLater:
    """A request to stop that is there when it has been asked for so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return cli_in_process(capfd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_text: Path, run_cli: RunCli) -> Path:
    """A folder with a trained run `runs/dense`. Its tests write beside it."""
    folder = tmp_path_factory.mktemp("compress")
    training = ["training.steps=80", "training.batch=8", "training.bptt=20", "training.evaluate_every=40"]
    model = ["model.hidden=16", "model.embedding=8", "evaluation.window=50"]
    run_cli(
        "train", "quickstart", f"data.text={small_text}", *training, *model, "--run", "runs/dense", cwd=folder, check=0
    )
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, as the working folder."""
    monkeypatch.chdir(folder)
    return folder


def test_json_and_runs_that_evaluate_to_what_was_reported(here: Path, run_cli: RunCli, cli: Cli) -> None:
    def values_of(*arguments: object) -> dict[str, Any]:
        return json.loads(cli(*arguments, "--json").stdout)

    arguments = ("compress", "dense", "--rank", "4,2", "--rank", 4, "--split", "test", "--json")
    values = json.loads(run_cli(*arguments, cwd=here, check=0).stdout)
    assert set(values) == {"run", "split", "tokens", "protocol", "spectrum", "dense", "ranks"}
    assert (values["run"], values["split"], values["protocol"]) == ("runs/dense", "test", "state carried, 1 stream")
    assert [(one["layer"], one["gate"]) for one in values["spectrum"]] == [(1, gate) for gate in "ifgo"]
    assert set(values["spectrum"][0]) == {"layer", "gate", "singular_values", "energy"}
    assert set(values["spectrum"][0]["energy"]) == {"2", "4"}
    dense = values_of("eval", "dense", "--split", "test")
    assert values["dense"] == pytest.approx({name: dense[name] for name in (*FIGURES, *COSTS)}, rel=1e-6)
    assert [row["rank"] for row in values["ranks"]] == [2, 4]
    for row in values["ranks"]:
        assert set(row) == {"rank", "run", "parameters", "flops_per_token", "energy", "truncated"}
        again = values_of("eval", row["run"], "--split", "test")
        assert row["truncated"] == pytest.approx({name: again[name] for name in FIGURES}, rel=1e-6)
        assert (row["parameters"], row["flops_per_token"]) == (again["parameters"], again["flops_per_token"])
        # Each of the four gates: 16 · 16 numbers by 2 · 16 r.
        assert row["parameters"] == dense["parameters"] - 4 * (16 * 16 - 2 * 16 * row["rank"])
        energies = [one["energy"][str(row["rank"])] for one in values["spectrum"]]
        assert min(energies) < row["energy"] < max(energies)
    assert values["ranks"][1]["energy"] > values["ranks"][0]["energy"]
    recipe = load_recipe(here / "runs" / "dense-rank-4" / "recipe.yaml").recipe
    assert (recipe.model.rank, recipe.name, recipe.expected) == (4, "dense-rank-4", [])
    assert recipe.description == "The weights of runs/dense at rank 4"


def test_the_spectrum_alone(here: Path, cli: Cli) -> None:
    assert set(json.loads(cli("compress", "dense", "--json").stdout)) == {"run", "spectrum"}
    lines = cli("compress", "dense").stdout.splitlines()
    assert lines[0].startswith("layer  gate  largest   rank that keeps")
    assert [line.split()[:2] for line in lines[1:]] == [["1", gate] for gate in "ifgo"]


def test_the_table_and_the_picture(here: Path, cli: Cli) -> None:
    arguments = ("compress", "dense", "--rank", 3, "--diagonal", "--tied", "--png", "ranks.png")
    lines = cli(*arguments).stdout.splitlines()
    assert lines[6].startswith("bpc on valid: ")
    assert lines[7].split() == ["rank", "parameters", "FLOPs/token", "energy", "truncated", "tuned", "run"]
    assert lines[8].split()[0] == "dense"
    assert (lines[9].split()[0], lines[9].split()[-1]) == ("3", "runs/dense-rank-3-diagonal-tied")
    assert (here / "ranks.png").read_bytes().startswith(b"\x89PNG")


def test_the_new_run_is_a_run(here: Path, cli: Cli) -> None:
    cli("compress", "dense", "--rank", 5, "--run", "runs/five")
    assert len(json.loads(cli("generate", "five", "--length", 7, "--seed", 1, "--json").stdout)["text"]) == 7
    cli("train", "runs/five/recipe.yaml", "--from", "five", "training.steps=1", "--run", "runs/further")
    cli("train", "--run", "five", "--resume", "training.steps=2")
    assert load_run("five", "last").step == 2


def test_tuning_starts_from_the_truncated_weights_and_is_never_worse(here: Path, cli: Cli) -> None:
    values = json.loads(cli("compress", "dense", "--rank", 2, "--tune", 0.05, "--run", "tuned", "--json").stdout)
    (row,) = values["ranks"]
    assert set(row) > {"truncated", "tuned", "steps", "seconds"}
    recipe = load_recipe(here / "tuned" / "recipe.yaml").recipe.training
    assert (recipe.minutes, recipe.schedule.kind, recipe.epochs) == (0.05, "cosine", None)
    assert recipe.lr == pytest.approx(0.5 * load_recipe(here / "runs" / "dense" / "recipe.yaml").recipe.training.lr)
    assert 0 < row["steps"] <= recipe.steps
    assert row["tuned"]["nll"] < row["truncated"]["nll"]
    assert json.loads(cli("eval", "tuned", "--json").stdout)["nll"] == pytest.approx(row["tuned"]["nll"], rel=1e-6)


def test_what_training_does_not_improve_stays_the_best(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress, "LR", 1e4)
    monkeypatch.setattr(compress, "try_recipe", lambda _: SimpleNamespace(seconds_per_step=4.8))
    row = json.loads(cli("compress", "dense", "--rank", 6, "--tune", 1, "--run", "spoilt", "--json").stdout)["ranks"][0]
    assert row["steps"] == 10
    assert row["tuned"] == pytest.approx(row["truncated"], rel=1e-6)


def test_a_tuning_that_was_stopped_goes_on_to_the_bit(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress, "try_recipe", lambda _: SimpleNamespace(seconds_per_step=1.2))
    cli("compress", "dense", "--rank", 2, "--tune", 1, "--run", "undisturbed")

    with monkeypatch.context() as context:
        context.setattr(session, "stop_on_signals", lambda: nullcontext(StopLater(13)))
        result = cli("compress", "dense", "--rank", 2, "--tune", 1, "--run", "stopped", check=130)
    assert "hint: go on with: lsseq train --run stopped --resume" in result.stderr
    assert 0 < load_run("stopped", "last").step < 40
    cli("train", "--run", "stopped", "--resume")
    a, b = (load_run(name, "last") for name in ("undisturbed", "stopped"))
    assert a.step == b.step == 40
    assert all(torch.equal(x, y) for x, y in zip(a.model.parameters(), b.model.parameters(), strict=True))
    losses = [
        [line["nll"] for line in read_metrics(here / name / "metrics.jsonl")] for name in ("undisturbed", "stopped")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("gates", "keys"),
    [
        (3, {"recurrence": "gru", "reset": "before", "zoneout": {"hidden": 0.1}}),
        (1, {"recurrence": "rnn", "learned_initial_state": True}),
        (4, {"layers": 2, "hidden": [12, 16], "norm": "layer"}),
        (4, {"recurrence": "hm-lstm", "layers": 3, "boundary": {"slope": {"start": 2.0}}}),
    ],
)
def test_other_recurrences(cli: Cli, tmp_path: Path, small_text: Path, gates: int, keys: dict[str, Any]) -> None:
    make_run(tmp_path / "run", tiny_recipe(small_text, model=keys), scale=10)
    values = json.loads(cli("compress", tmp_path / "run", "--rank", "2,11", "--streams", 4, "--json").stdout)
    assert len(values["spectrum"]) == gates * keys.get("layers", 1)
    few, many = values["ranks"]
    assert 0 < few["energy"] < many["energy"] < 1
    assert few["truncated"]["nll"] != many["truncated"]["nll"] != values["dense"]["nll"]


def test_a_slope_that_grew_stays_where_the_weights_learned_with_it(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    (tmp_path / "hm.yaml").write_text(
        f"data: {{text: {small_text}}}\n"
        "model: {recurrence: hm-lstm, layers: 3, hidden: 8, boundary: {slope: {start: 1, per_epoch: 2}}}\n"
        "training: {epochs: 2, batch: 16, bptt: 16}\n"
    )
    cli("train", tmp_path / "hm.yaml", "--run", tmp_path / "run")
    cli("compress", tmp_path / "run", "--rank", 2, "--streams", 4)
    slope = read_checkpoint(tmp_path / "run" / "checkpoints" / "best")[0]["weights"]["recurrence.slope"]
    assert slope in (1.0, 3.0)
    assert load_recipe(str(tmp_path / "run-rank-2" / "recipe.yaml")).recipe.model.boundary.slope == slope


def test_a_task(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compress, "try_recipe", lambda _: SimpleNamespace(seconds_per_step=4.8))
    task = "data: {task: {kind: adding, length: 9, examples: 105}}"
    (tmp_path / "adding.yaml").write_text(f"{task}\nmodel: {{recurrence: gru, hidden: 8}}\ntraining: {{steps: 9}}\n")
    cli("train", "adding.yaml", "--run", "adding")
    values = json.loads(cli("compress", "adding", "--rank", 3, "--tune", 1, "--split", "test", "--json").stdout)
    (row,) = values["ranks"]
    assert set(values["dense"]) == {"mse", "parameters", "flops_per_token"}
    assert set(row["truncated"]) == set(row["tuned"]) == {"mse"}
    assert json.loads(cli("eval", row["run"], "--split", "test", "--json").stdout)["mse"] == pytest.approx(
        row["tuned"]["mse"], rel=1e-6
    )
    assert "mse on test: " in cli("compress", "adding", "--rank", 2, "--split", "test").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["dense", "--rank", "16"], "error: rank 16 is not below the 16 units of a layer of runs/dense"),
        (["dense", "--rank", "4,x"], "error: Invalid value for '--rank': `x` is no rank; such as 32, or 16,32,64"),
        (
            ["dense", "--rank", "9" * 20],
            f"error: Invalid value for '--rank': `{'9' * 20}` is no rank; such as 32, or 16,32,64",
        ),
        (["dense", "--rank", "0"], "error: Invalid value for '--rank': `0` is no rank; such as 32, or 16,32,64"),
        (["dense", "--tune", "1"], "error: --diagonal, --tied, --tune and --run need --rank"),
        (["dense", "--rank", "2", "--run", "runs/dense"], "error: the run folder runs/dense exists already"),
        (["dense", "--png", "no-such/x.png"], "error: there is no folder `no-such` for --png"),
        (["no-such-run", "--rank", "2"], "error: there is no run `no-such-run`"),
    ],
)
def test_wrong_requests(here: Path, cli: Cli, args: list[str], message: str) -> None:
    result = cli("compress", *args, check=2)
    assert result.stderr.splitlines()[0] == message
    assert result.stdout == ""


def test_a_run_of_low_rank_has_a_spectrum_and_is_not_compressed_again(
    cli: Cli, tmp_path: Path, small_text: Path
) -> None:
    make_run(tmp_path / "low", tiny_recipe(small_text, model={"rank": 3}))
    result = cli("compress", tmp_path / "low", "--rank", 2, check=2)
    assert f"error: the weights of {tmp_path / 'low'} are of low rank already (model.rank is 3)" in result.stderr
    assert not (tmp_path / "low-rank-2").exists()
    values = json.loads(cli("compress", tmp_path / "low", "--json").stdout)["spectrum"][0]["singular_values"]
    assert values[2] > 1e-3
    assert values[3] < 1e-6


def test_a_recurrence_without_low_rank(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    make_run(tmp_path / "run", tiny_recipe(small_text, model={"recurrence": "mogrifier-lstm"}))
    result = cli("compress", tmp_path / "run", "--rank", 2, "--streams", 50, check=2)
    assert "error: the recurrence `mogrifier-lstm` has no `rank`" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_weights_that_are_not_finite(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    make_run(tmp_path / "run", tiny_recipe(small_text))
    tensors, values = read_checkpoint(tmp_path / "run" / "checkpoints" / "best")
    name = next(name for name in tensors["weights"] if name.endswith("weight_hh_l0"))
    tensors["weights"][name][0, 0] = torch.inf
    write_checkpoint(tmp_path / "run" / "checkpoints" / "best", tensors, values)
    result = cli("compress", tmp_path / "run", "--rank", 2, check=1)
    assert f"error: the weights of {tmp_path / 'run'} are not all finite: {name}" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_nothing_is_left_where_the_text_is_gone(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(small_text.read_bytes())
    make_run(tmp_path / "run", tiny_recipe(text))
    text.unlink()
    cli("compress", tmp_path / "run", "--rank", 2, check=2)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
