"""environment.json: under what a run was computed."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lsseq
from lsseq.recipe.schema import Training
from lsseq.runs import RunFolder

_EXACTNESS = ("torch", "device", "threads", "platform")


def environment(training: Training, device: torch.device) -> dict[str, Any]:
    """Versions, device, threads, seed, command line, time, and the git commit where lsseq runs from a checkout."""
    values = {
        "lsseq": lsseq.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "seed": training.seed,
        "command": shlex.join(["lsseq", *sys.argv[1:]]),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    commit = _commit()
    return values if commit is None else values | {"commit": commit}


def note_environment(folder: RunFolder, values: dict[str, Any], *, resumed: bool) -> list[str]:
    """Write environment.json; each session that went on with the run is added under `resumed`.

    Returns what is other than in the first session and keeps a resumed run from going on to the bit. Where the file is
    gone or damaged, this session is taken for the first.
    """
    first = _read(folder.environment) if resumed else None
    if first is None:
        folder.write_environment(values)
        return []
    folder.write_environment(first | {"resumed": [*first.get("resumed", []), values]})
    return [
        f"{name} ({values[name]}, at first {first[name]})" for name in _EXACTNESS if first.get(name) != values[name]
    ]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _commit() -> str | None:
    checkout = Path(lsseq.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
