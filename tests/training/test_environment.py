"""environment.json: what is in it, and how sessions add up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from toys import toy_training

import lsseq
import lsseq.nn as lnn
from lsseq.runs import RunFolder
from lsseq.training.environment import environment, note_environment

CPU = torch.device("cpu")
MODEL = lnn.GRU(2, 3, backend="reference")


def test_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["lsseq", "train", "a b.yaml", "training.lr=1"])
    values = environment(toy_training(seed=7), CPU, MODEL)
    assert values["command"] == "lsseq train 'a b.yaml' training.lr=1"
    assert (values["seed"], values["device"], values["lsseq"]) == (7, "cpu", lsseq.__version__)
    assert values["threads"] == torch.get_num_threads()
    assert values["back_ends"] == [
        "GRU: reference (a loop over the steps in plain PyTorch operations): as requested",
    ]


def test_commit_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lsseq").mkdir()
    monkeypatch.setattr(lsseq, "__file__", str(tmp_path / "lsseq" / "__init__.py"))
    assert "commit" not in environment(toy_training(), CPU, MODEL)
    (tmp_path / ".git").mkdir()

    def run(*args: object, **keys: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, "0123abc\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert environment(toy_training(), CPU, MODEL)["commit"] == "0123abc"


def test_sessions_add_up(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    first = environment(toy_training(), CPU, MODEL)
    assert note_environment(folder, first, resumed=False) == []
    assert note_environment(folder, first, resumed=True) == []
    other = first | {"threads": 16, "torch": "9.9", "back_ends": ["GRU: another", "RNN: another"]}
    assert note_environment(folder, other, resumed=True) == [
        f"torch (9.9, at first {torch.__version__})",
        f"threads (16, at first {first['threads']})",
        f"back_ends (GRU: another; RNN: another, at first {first['back_ends'][0]})",
    ]
    assert json.loads(folder.environment.read_text()) == first | {"resumed": [first, other]}


def test_other_processes_add_up_in_another_order(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    one, two = (environment(toy_training(), CPU, MODEL, processes) for processes in (1, 2))
    note_environment(folder, one, resumed=False)
    assert note_environment(folder, two, resumed=True) == ["processes (2, at first 1)"]
    # A run from before there were several says nothing of them.
    del one["processes"]
    folder.write_environment(one)
    assert note_environment(folder, one | {"processes": 1}, resumed=True) == []


@pytest.mark.parametrize("content", [None, b"", b'{"torch": ', b"[]", b"\xff", b'{"resumed": 3}'])
def test_a_run_goes_on_without_its_first_environment(tmp_path: Path, content: bytes | None) -> None:
    folder = RunFolder(tmp_path)
    if content is not None:
        folder.environment.write_bytes(content)
    values = environment(toy_training(), CPU, MODEL)
    assert note_environment(folder, values, resumed=True) == []
    assert json.loads(folder.environment.read_text()) == values


def test_values_of_other_kinds_are_shown(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    values = environment(toy_training(), CPU, MODEL)
    folder.write_environment(values | {"threads": [[1], {}]})
    assert note_environment(folder, values, resumed=True) == [f"threads ({values['threads']}, at first [1]; {{}})"]
