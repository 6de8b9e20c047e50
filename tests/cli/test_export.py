"""`lsseq export` as a user runs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import cli_in_process, make_run, tiny_recipe

from lsseq.data.vocabulary import load_vocabulary

Cli = Callable[..., Any]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return cli_in_process(capfd)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    """The run of an LSTM without options."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    make_run(folder, tiny_recipe(small_text), scale=10)
    return folder


@pytest.fixture
def zoneout(tmp_path: Path, small_text: Path) -> Path:
    make_run(tmp_path / "zoneout", tiny_recipe(small_text, model={"zoneout": {"cell": 0.5}}), scale=10)
    return tmp_path / "zoneout"


def test_everything_that_a_model_can_have(plain: Path, cli: Cli) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    finished = cli("export", plain, "--json")
    assert finished.stderr == ""
    values = json.loads(finished.stdout)
    assert set(values) == {"run", "checkpoint", "folder", "formats", "left_out"}
    if "scan" in str(values["left_out"]) and not torch.__version__.startswith("2.13."):
        pytest.skip(values["left_out"]["torch-export"])
    assert values["left_out"] == {}
    folder = plain / "export"
    assert (values["folder"], values["checkpoint"]) == (str(folder), "best")
    files = {row["format"]: row["files"] for row in values["formats"]}
    assert files == {
        "python": ["model.py", "model.safetensors"],
        "torch-export": ["model.pt2"],
        "onnx": ["model.onnx"],
        "torch-nn": ["torch_nn.safetensors"],
    }
    for row in values["formats"]:
        assert row["bytes"] == sum((folder / file).stat().st_size for file in row["files"])
        assert 0 <= row["error"] <= 1e-5
    vocabulary = load_vocabulary(folder)
    described = json.loads((folder / "export.json").read_text())
    assert described["inputs"]["highest"] == len(vocabulary) - 1
    assert described["inputs"]["start"] == vocabulary.start
    assert described["output"]["shape"] == ["time", "batch", len(vocabulary)]
    assert described["state"] == [
        {"name": name, "shape": [1, "batch", 16], "initial": 0.0} for name in ("state_0", "state_1")
    ]


def test_an_export_is_written_over_and_other_files_are_not(zoneout: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.py").write_text("print()")
    refused = cli("export", zoneout, "--format", "python", "--out", tmp_path / "mine", check=2)
    assert refused.stderr == (
        f"error: `{tmp_path / 'mine'}` holds other files and no export.json\nhint: choose a new one with --out\n"
    )
    assert (tmp_path / "mine" / "model.py").read_text() == "print()"
    refused = cli("export", zoneout, "--out", tmp_path / "mine" / "model.py", check=2)
    assert "there is a file of that name" in refused.stderr
    out = tmp_path / "a" / "b"
    told = cli("export", zoneout, "--format", "python", "--out", out).stdout
    assert told.splitlines()[-1] == f"in {out}"
    (out / "model.py").write_text("")
    cli("export", zoneout, "--format", "python", "--out", out)
    assert "class Model" in (out / "model.py").read_text()
    assert sorted(path.name for path in out.iterdir()) == [
        *("export.json", "model.py", "model.safetensors", "vocabulary.json"),
    ]


def test_what_cannot_be_had(zoneout: Path, cli: Cli) -> None:
    refused = cli("export", zoneout, "--format", "python", "--format", "torch-nn", check=2)
    assert refused.stderr.splitlines()[0] == (
        f"error: {zoneout} cannot be exported as torch-nn: torch.nn.LSTM has no zoneout_cell=0.5"
    )
    assert refused.stderr.splitlines()[1].startswith("hint: it can be exported as python")
    assert not (zoneout / "export").exists()
    assert "'keras' is not one of" in cli("export", zoneout, "--format", "keras", check=2).stderr
    assert "there is no run `nothing`" in cli("export", "nothing", check=2).stderr


def test_what_is_left_out_is_said(zoneout: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsseq.export.onnx._LIBRARIES", ("onnx", "not_installed"))
    monkeypatch.setattr("lsseq.export.sequence.obstacle", lambda _: "PyTorch is too old")
    lines = cli("export", zoneout).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["python", "torch-export", "onnx", "torch-nn", "in"]
    assert lines[1:4] == [
        "torch-export  left out: PyTorch is too old",
        "onnx          left out: it needs not_installed: pip install 'lsseq[onnx]'",
        "torch-nn      left out: torch.nn.LSTM has no zoneout_cell=0.5",
    ]


def test_a_checkpoint_that_is_missing(zoneout: Path, cli: Cli) -> None:
    shutil.rmtree(zoneout / "checkpoints" / "best")
    assert "has no checkpoint `best`" in cli("export", zoneout, check=1).stderr
    cli("export", zoneout, "--checkpoint", "last", "--format", "python")


def test_a_task(tmp_path: Path, cli: Cli) -> None:
    recipe = tmp_path / "adding.yaml"
    recipe.write_text("""\
data: {task: {kind: adding, length: 6}}
model: {hidden: 5}
training: {steps: 2, batch: 4}
""")
    cli("train", recipe, "--run", tmp_path / "run")
    cli("export", tmp_path / "run", "--format", "python")
    described = json.loads((tmp_path / "run" / "export" / "export.json").read_text())
    assert described["inputs"] == {"name": "inputs", "shape": ["time", "batch", 2], "dtype": "float32"}
    assert described["output"]["shape"] == ["time", "batch", 1]
    assert (tmp_path / "run" / "export" / "task.json").exists()
