"""The examples of docs/ecosystem.md for other libraries run, where these are installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "ecosystem.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)

CHECKS = {
    "lightning": "assert trainer.callback_metrics['loss'] < 0.5, trainer.callback_metrics",
    "accelerate": "assert loss < 0.5, loss",
}


@pytest.mark.parametrize("library", CHECKS)
def test_another_librarys_loop(library: str, tmp_path: Path) -> None:
    (code,) = (block for block in BLOCKS if re.search(rf"^(import|from) {library}\b", block, flags=re.MULTILINE))
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    script = f"import torch\ntorch.manual_seed(0)\n{code}\n{CHECKS[library]}"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
