"""`lsseq compare` from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processor_time import times_over
from tiny_run import cli_in_process
from trained_runs import contents, train_tiny

from lsseq.runs import RunFolder

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    folder = tmp_path_factory.mktemp("compare") / "runs"
    folder.mkdir()
    for seed in (1, 2):
        train_tiny(folder / f"seed-{seed}", small_text, f"training.seed={seed}", name="tiny")
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy in the working folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained, tmp_path / "runs"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return cli_in_process(capsys)


def test_table_json_and_files(runs: Path, cli: Cli) -> None:
    before = contents(runs)
    table = cli("compare", "seed-1", "runs").stdout
    assert [line.split()[0] for line in table.splitlines()[1:3]] == ["runs/seed-1", "runs/seed-2"]
    written = cli("compare", "runs", "--json", "--csv", "t.csv", "--markdown", "t.md", "--html", "t.html")
    values = json.loads(written.stdout)
    assert [(row["run"], row["seed"], row["status"]) for row in values["rows"]] == [
        ("runs/seed-1", 1, "finished"),
        ("runs/seed-2", 2, "finished"),
    ]
    assert "groups" not in values
    assert Path("t.csv").read_text(encoding="utf-8").startswith("run,recipe,")
    assert Path("t.md").read_text(encoding="utf-8").startswith("# Results")
    assert 'href="runs/seed-1/"' in Path("t.html").read_text(encoding="utf-8")
    assert contents(runs) == before


def test_test_figures_are_measured_once(runs: Path, cli: Cli) -> None:
    first = cli("compare", "runs", "--test", "--group", "--json")
    assert first.stderr.count("measuring") == 2
    values = json.loads(first.stdout)
    low, high = values["rows"][0]["test"]["interval"]["bpc"]
    assert low < values["rows"][0]["test"]["bpc"] < high
    (group,) = values["groups"]
    assert group["test"]["bpc"]["n"] == 2
    evaluated = json.loads(cli("eval", "seed-1", "--split", "test", "--json").stdout)
    assert evaluated["nll"] == values["rows"][0]["test"]["nll"]
    again = cli("compare", "runs", "--test", "--group", "--json")
    assert again.stderr == ""
    assert again.stdout == first.stdout


def test_draws_and_dynamic_evaluation_have_columns(runs: Path, cli: Cli, small_text: Path) -> None:
    train_tiny(runs / "noisy", small_text, "model.zoneout.cell=0.5")
    done = cli("compare", "noisy", "seed-1", "--samples", "2", "--dynamic")
    head, *lines = done.stdout.splitlines()[:3]
    plain, noisy = sorted(lines, key=lambda line: "noisy" in line)
    for title in ("one draw", "mean of draws", "dynamic"):
        assert title in head
    assert (noisy.count("bpc"), plain.count("bpc")) == (4, 2)
    assert " of 2" in noisy
    assert "note: runs/seed-1 has no test figure" in done.stderr
    evaluated = json.loads(cli("eval", "noisy", "--split", "test", "--samples", "2", "--json").stdout)
    (row,) = json.loads(cli("compare", "noisy", "--samples", "2", "--json").stdout)["rows"]
    assert row["samples"]["nll"] == evaluated["nll"]
    more = cli("compare", "noisy", "--samples", "3", "--dynamic", "--json")
    assert more.stderr.count("noisy") == 1
    assert json.loads(more.stdout)["rows"][0]["samples"]["samples"] == 3


def test_a_run_that_gives_no_test_figure_is_noted_and_the_others_are_measured(
    runs: Path, cli: Cli, small_text: Path, tmp_path: Path
) -> None:
    text = tmp_path / "gone.txt"
    text.write_bytes(small_text.read_bytes())
    train_tiny(runs / "a", text)
    text.unlink()
    (runs / "seed-1/metrics.jsonl").write_text("x\n", encoding="utf-8")
    with RunFolder.claim(runs / "seed-2", resume=True):
        done = cli("compare", "runs", "--test", "--json")
    assert "note: runs/a has no test figure" in done.stderr
    rows = {row["run"]: row for row in json.loads(done.stdout)["rows"]}
    assert [rows[f"runs/{name}"]["status"] for name in ("a", "seed-1", "seed-2")] == ["finished", "damaged", "running"]
    assert not any("test" in row for row in rows.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "RUN"),
        (("nothing",), "there is no run `nothing`"),
        (("runs", "--watch", "--json"), "--watch"),
        (("runs", "--watch", "--samples", "2"), "--watch"),
        (("runs", "--html", "no/where.html"), "there is no folder `no` for --html"),
    ],
)
def test_wrong_requests(arguments: tuple[str, ...], said: str, runs: Path, cli: Cli) -> None:
    failed = cli("compare", *arguments, check=2)
    assert said in failed.stderr
    assert failed.stdout == ""


def test_watch_shows_what_has_changed_until_it_is_interrupted(runs: Path) -> None:
    watched = subprocess.Popen(
        [sys.executable, "-m", "lsseq", "compare", "runs/seed-1", "--watch", "--html", "live.html"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in a shell's background they inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        assert watched.stdout is not None
        for _ in iter(watched.stdout.readline, "\n"):
            pass
        line = {"step": 40, "epoch": 1, "split": "valid", "nll": 0.1, "bpc": 0.125, "seconds": 5.0}
        with (runs / "seed-1/metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        second = "".join(iter(watched.stdout.readline, "\n"))
        assert "0.125 bpc" in second
        assert "\x1b" not in second
        assert "0.125" in Path("live.html").read_text(encoding="utf-8")
    finally:
        watched.send_signal(signal.SIGINT)
        rest, told = watched.communicate(timeout=60)
    assert (watched.returncode, rest) == (130, "")
    assert "Traceback" not in told


def test_many_runs_are_read_quickly_and_without_torch(trained: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (trained / "seed-1/metrics.jsonl").read_bytes().splitlines()]
    text = "".join(json.dumps({**lines[step % len(lines)], "step": step}) + "\n" for step in range(1000))
    for number in range(100):
        run = tmp_path / f"{number}"
        shutil.copytree(trained / "seed-1", run, ignore=shutil.ignore_patterns("tensorboard"))
        (run / "metrics.jsonl").write_text(text, encoding="utf-8")
    script = (
        "import sys\nfrom lsseq.cli import group\n"
        f"group.main(['compare', {str(tmp_path)!r}, '--html', 'page.html'], standalone_mode=False)\n"
        "assert not {'torch', 'numpy'} & set(sys.modules), 'imports too much'"
    )

    yardstick = (
        "import json, pathlib\n"
        "for file in pathlib.Path().glob('*/metrics.jsonl'): [json.loads(line) for line in file.open('rb')]"
    )
    assert times_over(["-c", script], ["-c", yardstick], cwd=tmp_path) < 10.0
    assert (tmp_path / "page.html").stat().st_size < 5_000_000
