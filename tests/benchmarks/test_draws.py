"""Draws over one plain pass over as many copies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "draws.py"
TINY = ("--samples", "3", "--vocabulary", "7", "--hidden", "4", "--tokens", "9", "--pairs", "2", "--threads", "1")


def test_every_noise_is_measured() -> None:
    command = [sys.executable, SCRIPT, *TINY]
    values = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert {"device", "machine", "torch", "threads", "load", "gemm_flops_per_second", "draws"} == set(values)
    names = ["zoneout", "swapout", "stochastic depth", "drop-path", "locked dropout", "dropped words"]
    assert [row["noise"] for row in values["draws"]] == [*names, "dropped weights"]
    for row in values["draws"]:
        assert (row["vocabulary"], row["samples"]) == (7, 3)
        assert 0 < row["low"] <= row["median"] <= row["high"]
    text = subprocess.run([*command, "--noise", "swapout"], capture_output=True, text=True, check=True).stdout
    assert text.splitlines()[-1].startswith("| swapout | 7 | ")
