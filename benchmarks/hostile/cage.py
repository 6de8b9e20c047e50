"""Runs lsseq in this process and watches it: time, memory, files, connections, what it says and how it ends."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsseq.errors import LsseqError, render

INTERRUPTED = 130
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.symlink"}
_MOVES = {"os.rename", "os.link"}
_NEVER = re.compile(r"pickle\.find_class|socket\.(connect|getaddrinfo|bind)|os\.(system|exec|fork|posix_spawn)")


@dataclass
class Outcome:
    """How a case ended."""

    code: int
    said: str
    """On standard error and, after it, standard output."""
    seconds: float
    grown: int
    """Bytes by which the process was larger than before, at most; 0 where the system does not tell."""
    found: list[str] = field(default_factory=list)
    """What must not be."""


@dataclass(frozen=True)
class Cage:
    """Limits.

    Args:
        allowed: folders that may be written to.
        seconds: that a case may take; then it is interrupted as by Ctrl-C, which it must obey.
        memory: bytes that it may take beyond what the process had.
    """

    allowed: tuple[Path, ...]
    seconds: float
    memory: int

    def run(self, action: Callable[[], object], *, may_last: bool = False) -> Outcome:
        """Run what ends with SystemExit, as the command line, or with an LsseqError.

        Args:
            action: what is run.
            may_last: it is no finding that it had to be interrupted.
        """
        output, errors = io.StringIO(), io.StringIO()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _give_memory_back()
        before, begin = _memory("VmRSS"), time.perf_counter()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        escaped, code = "", 0
        with self._watched() as found, _interrupted_after(self.seconds) as interrupted:
            try:
                with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                    code = _ended(action, errors)
            except BaseException:
                escaped = traceback.format_exc()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        outcome = Outcome(
            code,
            errors.getvalue() + escaped + output.getvalue(),
            time.perf_counter() - begin,
            max(0, _memory("VmHWM") - before),
            found,
        )
        outcome.found += self._judged(outcome, bool(escaped), bool(interrupted), may_last, errors.getvalue())
        return outcome

    def _judged(self, outcome: Outcome, escaped: bool, interrupted: bool, may_last: bool, errors: str) -> list[str]:
        found = []
        expected = {0, 1, 2} | ({INTERRUPTED} if interrupted else set())
        if escaped or "Traceback (most recent" in errors:
            found.append("a traceback")
        elif outcome.code not in expected:
            found.append(f"exit code {outcome.code}")
        elif outcome.code and not re.search("^error: .", errors, re.MULTILINE):
            found.append("no message")
        if "this is a defect of lsseq" in errors:
            found.append("an error of no name")
        if interrupted and not may_last:
            found.append(f"it took more than {self.seconds:g} s")
        if outcome.grown > self.memory:
            found.append(f"it took {outcome.grown >> 20} MiB")
        return found

    @contextlib.contextmanager
    def _watched(self) -> Iterator[list[str]]:
        found: list[str] = []

        def watch(event: str, args: tuple[Any, ...]) -> None:
            # A run keeps the commit of lsseq, where that is known; matplotlib asks for the fonts.
            if _NEVER.match(event) or (event == "subprocess.Popen" and args[0] not in ("git", "fc-list")):
                found.append(f"{event} {args}"[:200])
            for path in _changed(event, args):
                if not any(path.is_relative_to(folder) for folder in self.allowed) and path != Path(os.devnull):
                    found.append(f"{event} {path}"[:200])

        _watchers.append(watch)
        try:
            yield found
        finally:
            _watchers.remove(watch)


def _ended(action: Callable[[], object], errors: io.StringIO) -> int:
    """Run it to its end: the exit code."""
    try:
        action()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except LsseqError as error:
        errors.write(render(error) + "\n")
        return error.exit_code
    return 0


def _changed(event: str, args: tuple[Any, ...]) -> list[Path]:
    """The files that something is about to change."""
    if event == "open":
        name, mode, flags = args
        writes = any(letter in mode for letter in "wax+") if mode else bool(flags & _WRITING)
        names = [name] if writes else []
    elif event in _CHANGES:
        names = [args[1] if event == "os.symlink" else args[0]]
    else:
        names = list(args[:2]) if event in _MOVES else []
    return [Path(os.path.realpath(os.fsdecode(name))) for name in names if not isinstance(name, int)]


@contextlib.contextmanager
def _interrupted_after(seconds: float) -> Iterator[list[float]]:
    """SIGINT after so many seconds and, where that does nothing, every as many again."""
    moments: list[float] = []

    def interrupt(*_: object) -> None:
        moments.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield moments
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _memory(name: str) -> int:
    """Bytes of VmRSS or VmHWM, the largest VmRSS since clear_refs; 0 on systems without /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    match = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(match[1]) << 10 if match else 0


def _give_memory_back() -> None:
    """What the C library keeps of freed memory (`lsseq.cli.memory`), which a case could take without a trace."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


_watchers: list[Callable[[str, tuple[Any, ...]], None]] = []


def _audit(event: str, args: tuple[Any, ...]) -> None:
    for watch in _watchers:
        watch(event, args)


sys.addaudithook(_audit)
