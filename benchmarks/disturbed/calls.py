"""The system calls by which lsseq writes files, one of which goes wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

CALLS = ("open", "write", "fsync", "replace", "unlink")


class DisturbedOs:
    """Stands for the module `os` in `lsseq.runs.files`.

    Args:
        at: number of the call, from 1, that goes wrong; a write has put half of its bytes on the disk by then.
        disturb: raises, or ends the process.
    """

    def __init__(self, at: int, disturb: Callable[[], None]) -> None:
        self.at, self.disturb, self.count = at, disturb, 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                if name == "write":
                    os.write(args[0], bytes(args[1])[: len(args[1]) // 2])
                self.disturb()
            return real(*args, **kwargs)

        return call
