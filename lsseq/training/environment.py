"""environment.json: under what a run was computed."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import lsseq
from lsseq.json_text import parse_json
from lsseq.measure.machine import machine_name
from lsseq.model.cost import count_parameters
from lsseq.nn import explain
from lsseq.recipe.schema import Training
from lsseq.runs import RunFolder

_EXACTNESS = ("torch", "device", "threads", "processes", "platform", "back_ends")


def environment(training: Training, device: torch.device, model: nn.Module, processes: int = 1) -> dict[str, Any]:
    """Versions, machine, threads of each process, processes, back ends, number of parameters, seed, command line, time,
    and the git commit of a checkout of lsseq."""
    values = {
        "lsseq": lsseq.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "machine": machine_name(device),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "back_ends": explain(model),
        "parameters": count_parameters(model),
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
    at_first = {"processes": 1} | first  # runs from before there were several do not say it
    return [
        f"{name} ({_shown(values[name])}, at first {_shown(at_first.get(name))})"
        for name in _EXACTNESS
        if at_first.get(name) != values[name]
    ]


def _shown(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(values, dict) and isinstance(values.get("resumed", []), list)
    return values if whole else None


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
