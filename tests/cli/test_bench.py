"""`lsseq bench` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import kernels_at_hand as at_hand
import pytest
from tiny_run import cli_in_process

import lsseq.nn as lnn
from lsseq.measure import bench, machine
from lsseq.measure.case import Shape
from lsseq.measure.stacks import COMPARISONS

Cli = Callable[..., Any]
TINY = ("--device", "cpu", "--hidden", 16, "--batch", 2, "--steps", 3, "--pairs", 2, "--threads", 1)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setattr(machine, "product_speed", lambda device, dtype: 1e10)
    return cli_in_process(capfd)


def test_a_table_of_recurrences_and_its_json(cli: Cli) -> None:
    text = cli("bench", *TINY).stdout.splitlines()
    assert text[0].startswith("cpu: ")
    assert " 1 thread(s)" in text[0]
    table = text[text.index("") + 1 :]
    assert table[0].split()[:3] == ["layer", "back", "end"]
    assert len(table) == 1 + len(bench.RECURRENCES)

    result = cli("bench", *TINY, "--json")
    values = json.loads(result.stdout)
    assert set(values) == {"device", "machine", "torch", "threads", "load", "gemm_flops_per_second", "rows"}
    assert (values["device"], values["threads"]) == ("cpu", 1)
    assert [(row["cell"], row["options"]) for row in values["rows"]] == [*bench.RECURRENCES]
    for row in values["rows"]:
        assert set(row) == {
            *("cell", "options", "backend", "forward_backend", "dtype", "input", "hidden", "layers", "batch", "steps"),
            *("forward_ratio", "train_ratio", "spread", "pairs", "tokens_per_second", "gemm_fraction"),
            *("peak_bytes", "memory_ratio"),
        }
        assert [row[size] for size in ("input", "hidden", "layers", "batch", "steps")] == [16, 16, 1, 2, 3]
        assert row["forward_ratio"] > 0
    assert "13 row(s), all checked first; about 1 minute(s)" in result.stderr


def test_one_layer(cli: Cli) -> None:
    options = ("--zoneout-hidden", 0.1, "--reset", "before", "--backend", "reference", "--dtype", "float64")
    (row,) = json.loads(cli("bench", "--cell", "GRU", *options, *TINY, "--input", 5, "--layers", 2, "--json").stdout)[
        "rows"
    ]
    assert (row["cell"], row["options"]) == ("GRU", {"zoneout_hidden": 0.1, "reset": "before"})
    assert (row["backend"], row["dtype"], row["input"], row["layers"]) == ("reference", "float64", 5, 2)


def test_an_hm_lstm(cli: Cli) -> None:
    text = cli("bench", "--cell", "HMLSTM", *TINY).stdout
    assert "HMLSTM(boundary_rates=[0.3, 0.1])" in text
    options = ("--boundary-rates", "0.5,0.2,0.1", "--gradient", "select", "--norm", "layer", "--backend", "reference")
    (row,) = json.loads(cli("bench", "--cell", "HMLSTM", *options, *TINY, "--json").stdout)["rows"]
    assert row["options"] == {"norm": "layer", "boundary_rates": [0.5, 0.2, 0.1], "gradient": "select"}
    assert (row["cell"], row["backend"], row["layers"]) == ("HMLSTM", "reference", 4)


def test_a_low_rank_layer(cli: Cli) -> None:
    options = ("--rank", 2, "--diagonal", "--tied-rank", "--cell", "LSTM")
    (row,) = json.loads(cli("bench", *options, *TINY, "--json").stdout)["rows"]
    assert row["options"] == {"rank": 2, "diagonal": True, "tied_rank": True}
    assert "LSTM(rank=2)" in cli("bench", "--rank", 2, "--cell", "LSTM", *TINY).stdout


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_norms(norm: str, cli: Cli) -> None:
    (row,) = json.loads(cli("bench", "--norm", norm, "--cell", "LSTM", *TINY, "--json").stdout)["rows"]
    assert row["options"] == {"norm": norm}
    assert row["backend"] == lnn.LSTM(4, 4, norm="layer").choose_backend(training=True).backend


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("RHN", {"depth": 2, "rank": 3}),
        ("MogrifierLSTM", {"zoneout_cell": 0.1, "rounds": 0}),
        ("FastSlow", {"recurrent_dropout": 0.1, "fast": 3}),
    ],
)
def test_layers_as_a_loop(cell: str, options: dict[str, Any], cli: Cli) -> None:
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    loop = ("--backend", "reference")
    (row,) = json.loads(cli("bench", "--cell", cell, *given, *loop, *TINY, "--json").stdout)["rows"]
    assert (row["cell"], row["options"], row["backend"]) == (cell, options, "reference")


def test_stacks_over_the_same_without_noise(cli: Cli) -> None:
    sizes = ("--device", "cpu", "--hidden", 8, *TINY[4:])
    rows = json.loads(cli("bench", "--stack", "all", *sizes, "--json").stdout)["rows"]
    assert {row["stack"]: row["layers"] for row in rows} == {
        name: comparison.layers for name, comparison in COMPARISONS.items()
    }
    assert [row["stack"] for row in rows if "saved" in row] == ["stochastic-depth"]
    options = ("--cell", "GRU", "--zoneout-hidden", 0.1, "--layers", 3, "--backend", "reference")
    result = cli("bench", "--stack", "swapout", *options, *sizes)
    assert "time over the same stack without noise" in result.stdout
    assert "swapout: GRU(zoneout_hidden=0.1)" in result.stdout
    assert "  training computed " in cli("bench", "--stack", "stochastic-depth", *sizes, "--layers", 64).stdout


def test_the_grid(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "GRID", [Shape(4, 4, batch=2, steps=3), Shape(4, 6, batch=1, steps=2)])
    rows = json.loads(cli("bench", "--grid", "--pairs", 2, "--threads", 1, "--json").stdout)["rows"]
    assert [(row["options"], row["hidden"]) for row in rows] == [(bench.ZONEOUT[1], 4), (bench.ZONEOUT[1], 6)]


def test_a_kernel_that_deviates_is_not_timed(cli: Cli) -> None:
    for as_json in ((), ("--json",)):
        with at_hand.fused(at_hand.output_off):
            result = cli("bench", "--cell", "LSTM", "--zoneout-cell", 0.5, *TINY, *as_json, check=1)
        assert "error: LSTM(zoneout_cell=0.5) is not timed: its back end `fused` deviates" in result.stderr
        assert result.stderr.endswith("hint: `lsseq doctor` checks every back end here\n")
        assert "LSTM" not in result.stdout
        assert not (as_json and result.stdout)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--cell", "LTSM"], "'LTSM' is not one of"),
        (["--hidden", "-3"], "Invalid value for '--hidden'"),
        (["--batch", "0"], "Invalid value for '--batch'"),
        (["--pairs", "1"], "Invalid value for '--pairs'"),
        (["--cell", "LSTM", "--zoneout-cell", "1.5"], "Invalid value for '--zoneout-cell'"),
        (["--norm", "layer"], "--norm needs --cell"),
        (["--zoneout-cell", "0.1"], "--zoneout-cell needs --cell"),
        (["--diagonal"], "--diagonal needs --cell"),
        (["--cell", "RNN", "--rank", "999"], "RNN: rank should be an integer in range [1, 256], got 999"),
        (["--cell", "GRU", "--zoneout-cell", "0.1"], "GRU has no option `zoneout_cell`"),
        (["--boundary-rates", "0.3"], "--boundary-rates needs --cell"),
        (["--cell", "LSTM", "--boundary-rates", "0.3"], "LSTM has no option `boundary_rates`"),
        (["--cell", "HMLSTM", "--reset", "after"], "HMLSTM has no option `reset`"),
        (["--cell", "HMLSTM", "--layers", "2"], "HMLSTM: 2 layer(s) need 1 boundary rate(s), one for each but the top"),
        (["--cell", "HMLSTM", "--boundary-rates", "0.3,2"], "Invalid value for '--boundary-rates'"),
        (["--cell", "HMLSTM", "--backend", "cudnn"], "backend should be one of 'auto', 'fused', 'reference'"),
        (["--grid", "--steps", "9"], "--grid and --steps exclude each other"),
        (["--cell", "LSTM", "--norm", "layer", "--backend", "cudnn"], "cannot serve norm='layer'"),
        (["--cell", "RHN", "--layers", "2"], "RHN is one layer, got 2"),
        (["--cell", "RHN", "--backend", "cudnn"], "RHN: backend should be one of 'auto', 'fused', 'reference'"),
        (["--cell", "LSTM", "--depth", "2"], "LSTM has no option `depth`"),
        (["--rounds", "2"], "--rounds needs --cell"),
        (["--stack", "none"], "'none' is not one of 'all', 'stochastic-depth', 'swapout'"),
        (["--stack", "all", "--grid"], "--grid and --stack exclude each other"),
        (["--stack", "swapout", "--input", "8"], "--stack and --input exclude each other"),
        (["--stack", "swapout", "--cell", "HMLSTM"], "an HMLSTM is no layer of a stack"),
        (["--stack", "swapout", "--zoneout-cell", "0.1"], "--zoneout-cell needs --cell"),
        (["--backend", "cudnn"], "cannot serve zoneout_cell=0.5"),
    ],
)
def test_wrong_requests(args: list[str], message: str, cli: Cli) -> None:
    result = cli("bench", *args, check=2)
    assert message in result.stderr.splitlines()[0]
    assert result.stdout == ""


@pytest.mark.parametrize(("verb", "user"), [("bench", None), ("bench", "active"), ("doctor", None)])
def test_waiting_threads_do_not_spin(verb: str, user: str | None) -> None:
    watch = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"))
            os._exit(0 if sys.stdout.flush() is None else 1)
sys.meta_path.insert(0, Watch())
from lsseq.cli import main
main(["{verb}"])
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": user} if user else {}
    said = subprocess.run([sys.executable, "-c", watch], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == f"{user or 'passive'}\n"
