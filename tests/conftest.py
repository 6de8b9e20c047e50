"""Fixtures for all tests: one thread, a data folder of its own, a small text, and the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch is imported: test processes share cores, and spinning OpenMP threads slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from hypothesis import settings

torch.set_num_threads(1)

# Triton reads it when it is first imported, which parts of torch that tests use do.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# The same examples in every run, so that a failure is the change's; `--hypothesis-profile=search` looks for new ones.
settings.register_profile("repeated", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile("repeated")


@pytest.fixture(scope="session", autouse=True)
def lsseq_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of prepared corpora for the whole test session."""
    folder = tmp_path_factory.mktemp("lsseq-data")
    before = os.environ.get("LSSEQ_DATA")
    os.environ["LSSEQ_DATA"] = str(folder)
    yield folder
    if before is None:
        del os.environ["LSSEQ_DATA"]
    else:
        os.environ["LSSEQ_DATA"] = before


@pytest.fixture(scope="session")
def small_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with about 20 kB of English prose in ASCII."""
    from pydoc_data.topics import topics

    text = "".join(topics[name] for name in sorted(topics))
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_bytes(text[:20000].encode("ascii", errors="replace"))
    return path


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m lsseq ARGS` in a process of its own; `check` asserts the exit code."""

    def run(
        *args: object,
        check: int | None = None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 240,
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [sys.executable, "-m", "lsseq", *map(str, args)],
            capture_output=True,
            check=False,
            text=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
        )
        if check is not None:
            assert result.returncode == check, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    return run
