"""`lsseq doctor` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import kernels_at_hand as at_hand
import pytest
import torch
from tiny_run import cli_in_process
from torch import Tensor

from lsseq.measure import check
from lsseq.measure.case import Shape
from lsseq.nn.kernels.layer import Kernel, Layer, States

Cli = Callable[..., Any]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setattr(check, "_SHAPE", Shape(16, 64, batch=4, steps=4))
    monkeypatch.setattr(check, "_PAIRS", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return cli_in_process(capfd)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "RECURRENCES", (("LSTM", {"zoneout_cell": 0.5}), ("GRU", {})))


def test_every_recurrence_as_json(cli: Cli) -> None:
    values = json.loads(cli("doctor", "--json").stdout)
    assert set(values) == {"versions", "devices", "ok", "recurrences"}
    assert values["ok"] is True
    assert [(one["cell"], one["options"]) for one in values["recurrences"]] == [*check.RECURRENCES]
    for one in values["recurrences"]:
        assert set(one) == {"cell", "options", "device", "auto", "backends"}
        assert set(one["auto"]) == {"training", "evaluation"}
        assert one["auto"]["training"]["reason"]
        assert list(one["backends"]) == ["cudnn", "fused", "reference"]
        sound = one["backends"]["reference"]
        assert set(sound) == {"available", "ok", "errors", "forward_ratio", "train_ratio"}
        assert list(sound["errors"]) == ["float32", "float64"]
        assert set(sound["errors"]["float32"]) == {"tensor", "error", "tolerance"}
        if one["options"]:
            chosen = one["auto"]["training"]["backend"]
            assert one["backends"][chosen]["ok"]
    zoneout = values["recurrences"][1]
    assert zoneout["backends"]["cudnn"]["available"] is False
    assert "cannot serve zoneout_cell" in zoneout["backends"]["cudnn"]["reason"]


@pytest.mark.usefixtures("few")
def test_what_is_shown(cli: Cli) -> None:
    with at_hand.fused():
        lines = cli("doctor").stdout.splitlines()
    assert f"torch {version('torch')}" in lines[0]
    assert lines[1].startswith("cpu: ")
    assert lines[2] == "  fused: kernels of the tests"
    place = lines.index("LSTM(zoneout_cell=0.5)")
    assert lines[place + 1].startswith(
        "  auto takes for LSTM: fused (kernels of the tests): PyTorch's own kernels cannot"
    )
    assert lines[place + 2].split() == ["cudnn", "cannot", "serve", "it"]
    name, verdict, error, forward, train = lines[place + 3].split()
    assert (name, verdict) == ("fused", "ok")
    assert float(error) < 1e-5
    assert float(forward) > 0
    assert float(train) > 0


@pytest.mark.usefixtures("few")
def test_without_compiled_kernels(cli: Cli) -> None:
    with at_hand.fused(obstacle="nobody compiled them"):
        text = cli("doctor").stdout
        values = json.loads(cli("doctor", "--json").stdout)
    assert "  fused: none, nobody compiled them\n" in text
    assert "and nobody compiled them" in text
    assert values["ok"]
    assert values["recurrences"][0]["auto"]["training"]["backend"] == "reference"
    assert not values["recurrences"][0]["backends"]["fused"]["available"]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("small", [True, False], ids=["small", "larger"])
def test_a_fault_of_some_sizes_only(small: bool, cli: Cli) -> None:
    """Kernels may do small layers in another way."""

    def fault(sound: Kernel, x: Tensor, states: States, layer: Layer) -> at_hand.Result:
        here = (layer.weights.hidden.size <= 128) == small
        return at_hand.output_off(sound, x, states, layer) if here else sound(x, states, layer)

    with at_hand.fused(fault):
        assert "is off by 1.0e-04 of its largest value" in cli("doctor", check=1).stderr


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (at_hand.output_off, "is off by 1.0e-04 of its largest value"),
        (at_hand.crash, "RuntimeError: illegal instruction"),
    ],
)
def test_a_back_end_that_fails_is_said_loudly(fault: at_hand.Fault, said: str, cli: Cli) -> None:
    with at_hand.fused(fault):
        result = cli("doctor", check=1)
        values = json.loads(cli("doctor", "--json", check=1).stdout)
    assert result.stdout.count("FAILED") == 2
    errors = result.stderr.splitlines()
    # Both recurrences in both number formats, and what is to be done.
    assert [line.partition(",")[0] for line in errors[:4]] == [
        *2 * ["error: `fused` deviates from the reference for LSTM(zoneout_cell=0.5) on cpu"],
        *2 * ["error: `fused` deviates from the reference for GRU() on cpu"],
    ]
    assert all(said in line for line in errors[:4])
    assert errors[4].startswith("hint: set model.backend=reference in recipes, backend='reference' in Python")
    assert values["ok"] is False
    failed = values["recurrences"][0]["backends"]["fused"]
    assert failed["ok"] is False
    assert "train_ratio" not in failed
    assert values["recurrences"][0]["backends"]["reference"]["ok"]
