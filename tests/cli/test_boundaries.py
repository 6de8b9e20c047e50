"""`lsseq boundaries` on real runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = ["training.steps=6", "training.batch=4", "training.log_every=2", "training.evaluate_every=6", "model.hidden=12"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_text: Path, run_cli: Run) -> Path:
    """A run of an HM-LSTM, one that reads without spaces, and one of an LSTM."""
    folder = tmp_path_factory.mktemp("boundaries")
    hm = ["model.recurrence=hm-lstm", "model.layers=3"]
    for name, extra in {"hm": hm, "stripped": [*hm, "data.strip_spaces=true"], "lstm": []}.items():
        run_cli(
            "train",
            "quickstart",
            f"data.text={small_text}",
            *TINY,
            *extra,
            "--run",
            f"runs/{name}",
            cwd=folder,
            check=0,
        )
    return folder


def values_of(folder: Path, run_cli: Run, *arguments: object) -> dict:
    return json.loads(run_cli("boundaries", *arguments, "--json", cwd=folder, check=0).stdout)


@pytest.mark.parametrize("name", ["hm", "stripped"])
def test_json(folder: Path, run_cli: Run, name: str) -> None:
    values = values_of(folder, run_cli, name, "--split", "test")
    assert values["split"] == "test"
    assert values["offsets"] == "chosen on the validation split"
    assert len(values["layers"]) == 2
    assert len(values["updates"]) == 3
    assert values["updates"][0] == 1.0
    assert values["gold"] == ["words"]
    assert set(values["baselines"]) == {"always", "stride", "random", "surprisal", "entropy"}
    scores = values["layers"][0]["levels"]["words"]
    assert set(scores["offset"]) == {"-1", "0", "1"}
    assert values_of(folder, run_cli, name)["offsets"] == "chosen on this text"


def test_a_model_without_detectors(folder: Path, run_cli: Run) -> None:
    values = values_of(folder, run_cli, "lstm")
    assert values["layers"] == []
    assert values["baselines"]["surprisal"]["words"]["offset"]["0"]["f1"] > 0
    assert "no detectors" in run_cli("boundaries", "lstm", "--limit", 50, cwd=folder, check=0).stdout


def test_text_gold_and_files(folder: Path, run_cli: Run) -> None:
    (folder / "bare.txt").write_text("thecatsat\nonthemat\n")
    (folder / "gold.txt").write_text("the cat sat\non the mat\n")
    (folder / "wrong.txt").write_text("the cat sit\non the mat\n")
    shown = run_cli(
        *("boundaries", "stripped", "--text", "bare.txt", "--gold", "gold.txt"),
        *("--html", "page.html", "--positions", "positions.tsv"),
        cwd=folder,
        check=0,
    ).stdout
    assert "thecatsat" in shown
    assert "token F1" in shown
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "Rate over training" in page
    assert "at its best offset, chosen on the validation split" in page
    assert "http:" not in page
    assert "https:" not in page
    assert (folder / "positions.tsv").read_text().startswith("position\tlayer\tprobability\n")
    refused = run_cli("boundaries", "stripped", "--text", "bare.txt", "--gold", "wrong.txt", cwd=folder, check=2)
    assert "--> wrong.txt:1" in refused.stderr


def test_figures(folder: Path, run_cli: Run) -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    run_cli("boundaries", "hm", "--png", "figures.png", cwd=folder, check=0)
    assert (folder / "figures.png").read_bytes().startswith(b"\x89PNG")


def test_in_python(folder: Path) -> None:
    import lsseq

    model = lsseq.load(folder / "runs" / "hm")
    found = model.boundaries("the cat sat on the mat")
    assert len(found) == 2
    assert all(0 <= place < 22 for layer in found for place in layer)
    assert lsseq.load(folder / "runs" / "lstm").boundaries("the cat") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hm", "--split", "test", "--text", "x"], "--split and --text exclude each other"),
        (["hm", "--html", "nowhere/x.html"], "there is no folder `nowhere` for --html"),
        (["hm", "--text", "nothing.txt"], "there is no file `nothing.txt`"),
        (["hm", "--gold", "nothing.txt"], "there is no file `nothing.txt`"),
        (["none"], "there is no run `none`"),
    ],
)
def test_bad_requests(folder: Path, run_cli: Run, arguments: list[str], message: str) -> None:
    assert message in run_cli("boundaries", *arguments, cwd=folder, check=2).stderr
