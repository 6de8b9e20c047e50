"""The programs of examples/ as a user starts them, with tiny budgets."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
Run = Callable[..., str]
TINY = ("training.steps=3", "training.batch=4", "model.hidden=16")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """What an example prints; its runs lie in `tmp_path`."""

    def started(name: str, *arguments: str) -> str:
        runpy.run_path(str(EXAMPLES / name))["main"]([*arguments, "--runs", str(tmp_path)])
        return capsys.readouterr().out

    return started


def numbers(line: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"(?<!\w)-?\d[\d,.]*\d|\d", line)]


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert all(f'run("{path.name}"' in here for path in EXAMPLES.glob("*.py"))


def test_boundaries(run: Run, small_text: Path) -> None:
    printed = run("boundaries.py", str(small_text), *TINY)
    *_, words, first, second = printed.splitlines()
    # Counted once more from the text itself: its last twentieth is the test split.
    whole = small_text.read_text(encoding="utf-8")
    test = whole[-len(whole) // 20 :]
    ends = sum(not here.isspace() and after.isspace() for here, after in pairwise(test))
    assert numbers(words)[0] == pytest.approx(ends / len(test), abs=0.002)
    assert first.startswith("layer 1: fires at ")
    assert second.startswith("layer 2: fires at ")
    shown = printed.split("\n\n0.")[0].replace("·", "").replace("|", "")
    assert shown.rstrip("\n") in whole


def test_zoneout(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _, plain, zoneout = run("zoneout.py", *TINY, "--png", str(tmp_path / "z.png")).splitlines()
    for line, name in ((plain, "plain"), (zoneout, "zoneout")):
        train, valid, gap = numbers(line)
        assert line.startswith(name)
        assert gap == pytest.approx(valid - train, abs=2e-4)
    assert (tmp_path / "z.png").read_bytes().startswith(b"\x89PNG")


def test_low_rank(run: Run, tmp_path: Path) -> None:
    printed = run("compression.py", *TINY, "--ranks", "2", "15", "--tune", "0.02").splitlines()
    dense, small, large = (numbers(line.replace("dense", "16")) for line in printed[-3:])
    # Two factors of r columns in the place of a square matrix, for each of four gates.
    assert small[1] - dense[1] == 4 * (2 * 2 * 16 - 16 * 16)
    assert large[2] > small[2]
    assert large[3] == pytest.approx(dense[3], abs=1e-3)
    assert small[4] <= small[3] + 1e-4
    assert (tmp_path / "dense-rank-2" / "checkpoints" / "best" / "checkpoint.json").exists()


def test_anytime(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    printed = run("anytime.py", *TINY, "--most", "3", "--png", str(tmp_path / "a.png"))
    rows = [numbers(line) for line in printed.splitlines()[1:]]
    assert [row[0] for row in rows] == [1, 2, 3]
    # Each virtual layer costs one cell: two operations for each weight by which something is multiplied.
    assert rows[2][1] - rows[1][1] == 2 * 4 * 16 * (16 + 16)
    assert len({row[2] for row in rows}) == 3
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
