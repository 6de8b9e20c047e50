"""docs/performance.md comes from what `lsseq bench` prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import cli_in_process

from lsseq.measure import machine

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "report.py"


def report(*files: Path) -> str:
    return subprocess.run([sys.executable, SCRIPT, *files], capture_output=True, text=True, check=True).stdout


def test_the_page_of_a_measurement(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "product_speed", lambda device, dtype: 1e10)
    file = tmp_path / "bench.json"
    tiny = ("--device", "cpu", "--hidden", 16, "--batch", 2, "--steps", 3, "--pairs", 2, "--threads", 1)
    file.write_text(cli_in_process(capfd)("bench", *tiny, "--json").stdout)
    measured = json.loads(file.read_text())
    page = report(file)
    assert page.startswith("# ")
    assert f"## cpu: {measured['machine']}, PyTorch {measured['torch']}, 1 thread\n" in page
    assert len([line for line in page.splitlines() if line.startswith("| ")]) == 2 + len(measured["rows"])
    assert "geometric mean" not in page


def row(**values: object) -> dict[str, object]:
    return {
        "cell": "LSTM",
        "options": {"zoneout_cell": 0.5},
        "backend": "fused",
        "forward_backend": "fused",
        "dtype": "float32",
        "input": 50,
        "hidden": 1000,
        "layers": 1,
        "batch": 32,
        "steps": 100,
        "forward_ratio": 1.204,
        "train_ratio": 0.8,
        "spread": {"forward": [1.1, 1.3], "train": [0.75, 0.9]},
        "pairs": {"forward": 30, "train": 30},
        "tokens_per_second": 12345.6,
        "gemm_fraction": 0.614,
        "peak_bytes": 10,
        "memory_ratio": 0.875,
        **values,
    }


HEAD = {"device": "cpu", "machine": "a CPU", "torch": "2.13.0", "threads": 1, "load": None}


def test_stacks_and_draws_have_tables_of_their_own(tmp_path: Path) -> None:
    stacks = [
        row(stack="stochastic-depth", layers=8, computed=0.72, saved=0.98, memory_ratio=None),
        row(stack="swapout"),
    ]
    draws = {"noise": "zoneout", "vocabulary": 10000, "hidden": 256, "samples": 8, "median": 1.154, "low": 1.1}
    draws |= {"high": 1.2, "mean": 1.15, "seconds": 0.25, "pairs": 30}
    files = []
    for name, measured in (("stacks", {"rows": stacks}), ("draws", {"draws": [draws]}), ("rows", {"rows": [row()]})):
        files.append(tmp_path / name)
        files[-1].write_text(json.dumps({**HEAD, "gemm_flops_per_second": 5e10, **measured}))
    page = report(*files)
    assert page.count("## cpu: a CPU, PyTorch 2.13.0, 1 thread\n") == 1
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    ratios = "1.20 (1.10–1.30) | 0.80 (0.75–0.90)"
    assert lines[2].startswith("| LSTM, zoneout_cell 0.5 | fused | ")
    assert lines[5:7] == [
        f"| stochastic-depth | LSTM, zoneout_cell 0.5 | 50 | 1000 | 8 | 32 | 100 | {ratios} | 72% | 98% |  |",
        f"| swapout | LSTM, zoneout_cell 0.5 | 50 | 1000 | 1 | 32 | 100 | {ratios} |  |  | 0.88 |",
    ]
    assert lines[9] == "| zoneout | 10,000 | 256 | 8 | 250 | 1.15 (1.10–1.20) |"
    assert len(lines) == 10
    assert "geometric mean" not in page


def test_rows_and_means(tmp_path: Path) -> None:
    rows = [
        row(),
        row(train_ratio=1.25, peak_bytes=None, memory_ratio=None, dtype="float32"),
        row(options={}, forward_backend="cudnn", dtype="bfloat16"),
    ]
    head = {"device": "cuda", "machine": "a GPU", "torch": "2.13.0", "threads": 4, "load": None}
    file = tmp_path / "bench.json"
    file.write_text(json.dumps({**head, "gemm_flops_per_second": 5e13, "rows": rows}))
    slow, other = tmp_path / "slow.json", tmp_path / "other.json"
    slow.write_text(json.dumps({**head, "gemm_flops_per_second": 2.5e13, "rows": [row(options={})]}))
    other.write_text(json.dumps({**head, "threads": 1, "gemm_flops_per_second": 5e13, "rows": rows}))
    lines = report(file, other, slow).splitlines()
    first = lines.index("## cuda: a GPU, PyTorch 2.13.0, 4 threads")
    assert "## cuda: a GPU, PyTorch 2.13.0, 1 thread" in lines
    # Against the faster of both measurements of the same machine.
    assert lines[first + 9].startswith("| LSTM | fused | ")
    assert lines[first + 9].endswith(" 31% |")
    assert lines[first + 2] == "Large matrix products: 50,000 GFLOP/s."
    sizes, ratios = "50 | 1000 | 1 | 32 | 100", "1.20 (1.10–1.30) | 0.80 (0.75–0.90)"
    assert lines[first + 6] == f"| LSTM, zoneout_cell 0.5 | fused | {sizes} | {ratios} | 12,346 | 0.88 | 61% |"
    assert lines[first + 7].endswith("| 12,346 |  | 61% |")
    assert lines[first + 8].startswith("| LSTM, bfloat16 | cudnn, fused | ")
    # The square root of 0.8 · 1.25.
    assert lines[first + 11] == (
        "- LSTM, zoneout_cell 0.5 (fused), geometric mean of 2 shapes: forward 1.20, training 1.00"
    )
