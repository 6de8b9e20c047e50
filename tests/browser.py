"""A page in a real browser, where one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def show(page: Path, picture: Path) -> subprocess.CompletedProcess[str]:
    """Load a file and take its picture. The DOM is on standard output, and what the console was told, such as errors of
    scripts and refused fetches, on standard error behind the word CONSOLE."""
    return subprocess.run(
        [
            str(BROWSER),
            *("--headless", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=1000"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            *(f"--user-data-dir={picture.parent / 'profile'}", f"--screenshot={picture}", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
