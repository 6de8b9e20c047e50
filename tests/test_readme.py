"""The commands and the Python of README.md and docs/ are run as they stand, trainings cut short."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fences(language: str, text: str = README) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_first_commands_are_those_that_ci_runs() -> None:
    commands = "".join(fences("sh")).splitlines()
    assert commands[:2] == ["lsseq train quickstart", "pytest"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "pytest" in ci
    assert any(line.startswith("lsseq train quickstart ") for line in ci)


def test_commands_and_python_run(
    tmp_path: Path, small_text: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for name in ("my-text.txt", "another-text.txt"):
        (tmp_path / name).write_bytes(small_text.read_bytes())
    commands = [shlex.split(line, comments=True) for line in "".join(fences("sh")).splitlines()]
    for program, *arguments in commands:
        if program == "pytest":
            continue
        assert program == "lsseq"
        if arguments[0] == "train":
            arguments += ["training.steps=3", "training.batch=4", "training.evaluate_every=3", "model.hidden=16"]
        run_cli(*arguments, cwd=tmp_path, check=0)
    assert (tmp_path / "surprisal.tsv").read_text(encoding="utf-8").count("\n") > 1000
    blocks = fences("python")
    assert len(blocks) == 2
    for block in blocks:
        subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=dict(os.environ), check=True)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
