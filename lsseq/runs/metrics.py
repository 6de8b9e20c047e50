"""metrics.jsonl: one JSON object a line, appended during training and cut back when a run is resumed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from lsseq.errors import Place, RunError
from lsseq.json_text import parse_json
from lsseq.runs import files


class Metrics:
    """The open metrics file of a run.

    Args:
        path: the file; made where it is missing.
        position: bytes of it that belong to the checkpoint from which training goes on; what lies behind is cut off.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("ab", buffering=0)
        size = self._file.seek(0, os.SEEK_END)
        if size < position:
            self._file.close()
            raise RunError(
                f"{path} is damaged: it holds {size} bytes, and the checkpoint was saved after {position}",
                hint="lines were removed from it; restore the file, or train into another folder",
            )
        self._file.truncate(position)
        self._file.seek(position)

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line and hand it to the system, so that others can follow. What is not finite becomes null."""
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
        files.write_all(self._file.fileno(), self._path, json.dumps(finite).encode() + b"\n")

    def sync(self) -> int:
        """Force the lines to the disk; the number of bytes, to be kept with a checkpoint."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line that was being written when its process was killed is left out.

    Raises:
        RunError: a line before the last one is not a JSON object.
    """
    lines = path.read_bytes().split(b"\n")
    read: list[dict[str, Any]] = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            value = parse_json(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RunError("this line is not a JSON object", Place(str(path), number))
        read.append(value)
    return read
