"""How long a command takes, whatever machine it runs on and whatever else runs there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def times_over(script: Sequence[str], yardstick: Sequence[str], *, tries: int = 3, cwd: Path | None = None) -> float:
    """The time of the processor that Python takes with the arguments `script`, over that with `yardstick` right after:
    the least of some tries."""

    def seconds(arguments: Sequence[str]) -> float:
        before = os.times()
        subprocess.run([sys.executable, *arguments], cwd=cwd, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    return min(seconds(script) / seconds(yardstick) for _ in range(tries))
