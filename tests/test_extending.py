"""docs/extending.md is followed to the letter in a copy of the package."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")

# A path in back quotes that begins a line, and the Python block that follows it.
FILES = re.findall(r"^`([\w/]+\.py)`.*?^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)).splitlines()


def test_the_page_does_what_it_says(tmp_path: Path, run_cli: Callable[..., CompletedProcess[str]]) -> None:
    for folder in ("lsseq", "recipes", "data_scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", tmp_path)
    assert len(FILES) == 5
    for name, content in FILES:
        (tmp_path / name).write_text(content, encoding="utf-8")

    said = []
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        assert program == "lsseq"
        if arguments[0] == "train":
            arguments += ["training.steps=3", "training.batch=4", "model.hidden=16"]
        # `python -m lsseq` takes the package of the working folder, which is the copy.
        said.append(run_cli(*arguments, cwd=tmp_path, check=0))
    for run in ("quickstart", "summed", "counting"):
        assert (tmp_path / "runs" / run / "checkpoints" / "best" / "checkpoint.json").exists()
    assert "equal" in said[2].stdout
    assert said[-1].stdout == f"{len((ROOT / 'README.md').read_text(encoding='utf-8').split())} words\n"
