"""A process that runs `lsseq`, with something wrong in it.

It is forked from one that has imported PyTorch, so that a moment chosen at random lies in the training and not in the
import. What runs in it is the command line, from its arguments to its exit code.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disturbed.calls import DisturbedOs

IMPORTED = [
    "lsseq.training.session", "lsseq.cli.verbs.train", "lsseq.cli.verbs.eval", "lsseq.evaluation.evaluate",
    "safetensors.torch", "torch._dynamo", "torch.utils.tensorboard",
]  # fmt: skip
"""By the process from which all are forked: PyTorch's optimisers import its compiler, which takes a second."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a process."""

    kill_at: int | None = None
    """It kills itself inside this system call of those that write files, from 1."""
    fail_at: int | None = None
    """This call fails."""
    errno: int = 0
    """How it fails."""
    backwards: bool = False
    """Every look at the system's clock finds it an hour earlier."""


class Command:
    """`lsseq ARGUMENTS`, started.

    Args:
        arguments: of the command line.
        log: file that takes what is printed.
        fault: what goes wrong.
    """

    def __init__(self, arguments: list[str], log: Path, fault: Fault | None = None) -> None:
        self._log = log
        log.write_bytes(b"")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        self._process = context.Process(target=_run, args=(arguments, log, fault or Fault()))
        self._process.start()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for its end, not longer than so many seconds; the exit code, negative for a signal that ended it."""
        self._process.join(seconds)
        return self._process.exitcode

    def wait_for_begin(self) -> None:
        """Wait until it is in lsseq's hands."""
        while self.alive and not self._log.stat().st_size:
            time.sleep(0.001)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.alive:
            # It may end in between.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid or 0, number)

    @property
    def said(self) -> str:
        """What it printed."""
        return self._log.read_text(encoding="utf-8")

    @property
    def calls(self) -> int:
        """The system calls it wrote files by, once it has ended by itself."""
        return int(self._log.with_suffix(".calls").read_text(encoding="utf-8"))


def _run(arguments: list[str], log: Path, fault: Fault) -> None:
    from lsseq.cli import main
    from lsseq.runs import files

    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(output, standard)

    def disturb() -> None:
        if fault.kill_at is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(fault.errno, os.strerror(fault.errno))

    calls = DisturbedOs(fault.kill_at or fault.fail_at or 0, disturb)
    module: Any = files
    module.os = calls
    if fault.backwards:
        _turn_the_clock_back()
    os.write(output, b"begun\n")
    try:
        main(arguments)
    finally:
        log.with_suffix(".calls").write_text(str(calls.count), encoding="utf-8")


def _turn_the_clock_back() -> None:
    now = time.time()

    def earlier() -> float:
        nonlocal now
        now -= 3600.0
        return now

    clock: Any = time
    clock.time, clock.time_ns = earlier, lambda: int(earlier() * 1e9)
