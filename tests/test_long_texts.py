"""The memory that a text takes does not grow with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_run import make_run, tiny_recipe

SCRIPT = """
import resource, sys
from lsseq.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(*arguments: object) -> float:
    """MiB that `lsseq` takes at most."""
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(said.split()[-1]) / (1 << (20 if sys.platform == "darwin" else 10))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak is told by POSIX systems")
@pytest.mark.parametrize("keys", [{}, {"strip_spaces": True}, {"strip_spaces": True, "reverse": True}])
def test_a_text_four_times_as_long_takes_no_more(tmp_path: Path, keys: dict[str, bool]) -> None:
    letters = np.random.default_rng(0).choice(list("abcde   \n"), 1_000_000)
    text = "".join(letters)
    for name, times in (("train", 1), ("short", 2), ("long", 8)):
        (tmp_path / name).write_text(text * times)
    model = {"recurrence": "hm-lstm", "layers": 3, "hidden": 8, "embedding": 4}
    make_run(tmp_path / "run", tiny_recipe(tmp_path / "train", data=keys, model=model))
    peaks = [
        peak(
            *("boundaries", tmp_path / "run", "--text", tmp_path / name, "--gold", tmp_path / name),
            *("--positions", tmp_path / "positions", "--json"),
        )
        for name in ("short", "long")
    ]
    # Held whole, the six million symbols more took over a hundred.
    assert peaks[1] - peaks[0] < 30


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak is told by POSIX systems")
def test_its_surprisals_take_no_more(tmp_path: Path) -> None:
    text = "".join(np.random.default_rng(0).choice(list("abcde   \n"), 500_000))
    for name, times in (("train", 1), ("short", 2), ("long", 8)):
        (tmp_path / name).write_text(text * times)
    make_run(tmp_path / "run", tiny_recipe(tmp_path / "train", model={"hidden": 8, "embedding": 4}))
    peaks = []
    for name in ("short", "long"):
        read = ("eval", tmp_path / "run", "--text", tmp_path / name, "--streams", 500, "--window", 50)
        peaks.append(peak(*read, "--tokens", tmp_path / f"{name}.tsv"))
        with (tmp_path / f"{name}.tsv").open() as lines:
            assert sum(1 for _ in lines) == (tmp_path / name).stat().st_size
    # Held whole, three million symbols and surprisals more would take over seventy.
    assert peaks[1] - peaks[0] < 30
