"""`lsseq eval` of draws and of several runs, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import cli_in_process, make_run, tiny_recipe

Cli = Callable[..., Any]
NOISE = {"zoneout": {"cell": 0.4, "hidden": 0.1}}
DEPTH = {"layers": 2, "stack": {"kind": "residual", "stochastic_depth": {"survival": 0.4}}}


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return cli_in_process(capfd)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(small_text.read_text()[:300])
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    models: dict[str, Any] = {"noisy": NOISE, "plain": {}, "wide": {"hidden": 24}, "depth": DEPTH}
    models["deep"] = {**DEPTH, "layers": 9}
    for name, model in models.items():
        make_run(folder / name, tiny_recipe(small_text, model=model), scale=10)
    other = folder / "other.txt"
    other.write_text("abc\n" * 200)
    make_run(folder / "other", tiny_recipe(other))
    make_run(folder / "backwards", tiny_recipe(small_text, data={"reverse": True}))
    return {name: folder / name for name in (*models, "other", "backwards")}


def test_samples(runs: dict[str, Path], text: Path, cli: Cli, tmp_path: Path) -> None:
    png, tokens = tmp_path / "curve.png", tmp_path / "tokens.tsv"
    options = ("--text", text, "--samples", 4, "--seed", 3, "--json")
    values = json.loads(cli("eval", runs["noisy"], *options, "--png", png, "--tokens", tokens).stdout)
    assert set(values) == {
        *("nll", "perplexity", "bpc", "tokens", "characters", "mode", "protocol", "seconds"),
        *("parameters", "state_size", "flops_per_token"),
        *("samples", "seed", "deterministic", "single", "geometric", "curve", "disagreement"),
    }
    assert (values["mode"], values["samples"], list(values["curve"])) == ("samples", 4, ["1", "2", "3", "4"])
    assert set(values["deterministic"]) == {"nll", "perplexity", "bpc", "seconds"}
    assert set(values["single"]) == {"nll", "perplexity", "bpc", "sd"}
    plain = json.loads(cli("eval", runs["noisy"], "--text", text, "--json").stdout)
    assert values["deterministic"]["nll"] == plain["nll"]
    again = json.loads(cli("eval", runs["noisy"], *options, "evaluation.window=7").stdout)
    assert again["curve"] == pytest.approx(values["curve"], rel=1e-5)
    assert png.read_bytes().startswith(b"\x89PNG")
    bits = [float(line.rpartition("\t")[2]) for line in tokens.read_text().splitlines()]
    assert sum(bits) / len(bits) == pytest.approx(values["bpc"], rel=1e-4)


def test_all_sub_networks(runs: dict[str, Path], text: Path, cli: Cli, tmp_path: Path) -> None:
    png, tokens = tmp_path / "curve.png", tmp_path / "tokens.tsv"
    options = ("--text", text, "--exact", "--json")
    values = json.loads(cli("eval", runs["depth"], *options, "--png", png, "--tokens", tokens).stdout)
    assert set(values) == {
        *("nll", "perplexity", "bpc", "tokens", "characters", "mode", "protocol", "seconds"),
        *("parameters", "state_size", "flops_per_token"),
        *("deterministic", "single", "geometric", "curve", "disagreement", "sub_networks"),
    }
    assert values["mode"] == "exact"
    ranked = values["sub_networks"]
    assert {one["name"]: one["probability"] for one in ranked} == pytest.approx(
        {"layers 1, 2 of 2": 0.28, "layer 1 of 2": 0.42, "layer 2 of 2": 0.12, "no layer of 2": 0.18}
    )
    assert set(ranked[0]) == {"name", "probability", "nll", "perplexity", "bpc"}
    assert [one["nll"] for one in ranked] == sorted(one["nll"] for one in ranked)
    assert values["single"]["nll"] == pytest.approx(sum(one["probability"] * one["nll"] for one in ranked))
    assert list(values["curve"]) == ["1", "2", "3", "4"]
    assert png.read_bytes().startswith(b"\x89PNG")
    bits = [float(line.rpartition("\t")[2]) for line in tokens.read_text().splitlines()]
    assert sum(bits) / len(bits) == pytest.approx(values["bpc"], rel=1e-4)
    drawn = json.loads(cli("eval", runs["depth"], "--text", text, "--samples", 400, "--json").stdout)
    assert drawn["nll"] == pytest.approx(values["nll"], rel=0.02)
    shown = cli("eval", runs["depth"], "--text", text, "--exact").stdout.splitlines()
    assert shown[4] == "sub-networks    4"
    assert shown[5].startswith("best ")
    assert shown[6].endswith(f"({ranked[-1]['name']}; probability {ranked[-1]['probability']:.3g})")
    assert "exact; state carried, 1 stream" in shown


def test_several_runs(runs: dict[str, Path], text: Path, cli: Cli) -> None:
    values = json.loads(cli("eval", runs["noisy"], runs["wide"], "--text", text, "--json").stdout)
    assert (values["mode"], list(values["curve"])) == ("ensemble", ["1", "2"])
    assert [run["run"] for run in values["runs"]] == [str(runs["noisy"]), str(runs["wide"])]
    for run in values["runs"]:
        alone = json.loads(cli("eval", run["run"], "--text", text, "--json").stdout)
        assert run["nll"] == pytest.approx(alone["nll"], rel=1e-5)
        assert run["parameters"] == alone["parameters"]
    assert values["nll"] < values["single"]["nll"]


def test_what_is_shown(runs: dict[str, Path], text: Path, cli: Cli) -> None:
    shown = cli("eval", runs["noisy"], "--text", text, "--samples", 3).stdout.splitlines()
    begins = ["nll", "perplexity", "bpc", "deterministic", "single, mean", "geometric mean", "disagreement"]
    assert [line[: len(begin)] for line, begin in zip(shown, begins, strict=False)] == begins
    assert [part.split(":")[0] for part in shown[7].removeprefix("nll of the first ").split(", ")] == ["1", "2", "3"]
    assert "samples; state carried, 1 stream" in shown
    both = cli("eval", runs["noisy"], runs["plain"], "--text", text).stdout.splitlines()
    assert both[3].startswith(str(runs["noisy"]))
    assert "ensemble; state carried, 1 stream" in both


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["plain", "--samples", "2"], "error: --samples: the model has no noise, so that all draws would be the same"),
        (["noisy", "--samples", "0"], "error: Invalid value for '--samples'"),
        (
            ["noisy", "plain", "--samples", "2"],
            "error: several runs, --samples, --exact, --dynamic and --cache exclude each other",
        ),
        (
            ["depth", "--exact", "--samples", "2"],
            "error: several runs, --samples, --exact, --dynamic and --cache exclude each other",
        ),
        (["plain", "--exact"], "error: --exact: the model has no noise, so that there is nothing to enumerate"),
        (["noisy", "--exact"], "error: --exact: there are too many sub-networks to count"),
        (["deep", "--exact"], "error: --exact: the coins can fall in 512 ways, and at most 64 are enumerated"),
        (
            ["noisy", "--png", "x.png"],
            "error: --png draws the curve of --samples, --exact or several runs, --steps or --column",
        ),
        (
            ["noisy", "backwards"],
            "error: {backwards} and {noisy} read different symbols: data.reverse is true of one of them only",
        ),
        (["noisy", "other"], "error: {other} has another vocabulary than {noisy}"),
    ],
)
def test_wrong_requests(args: list[str], message: str, runs: dict[str, Path], cli: Cli) -> None:
    result = cli("eval", *(runs.get(arg, arg) for arg in args), check=2)
    expected = message.format(**{name: str(path) for name, path in runs.items()})
    assert result.stderr.splitlines()[0].startswith(expected)
    assert result.stdout == ""


def test_tasks_have_no_ensembles(cli: Cli, tmp_path: Path) -> None:
    recipe = tmp_path / "task.yaml"
    recipe.write_text(
        "data: {task: {kind: adding, length: 8, examples: 205}}\n"
        "model: {hidden: 4}\ntraining: {batch: 4, steps: 1, evaluate_every: 1}\n"
    )
    cli("train", recipe, "--run", tmp_path / "run")
    for option in (["--samples", 2], ["--exact"]):
        result = cli("eval", tmp_path / "run", *option, check=2)
        assert f"{option[0]} is for language models" in result.stderr
