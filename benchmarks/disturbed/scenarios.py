"""What happens to trainings, one function a fault.

Each takes the training that was left alone, a generator of random numbers and how many times, and returns the exit
codes of what was disturbed. It raises `Lost` where something is.
"""

from __future__ import annotations

import errno
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from disturbed.course import GROUPS, Course, Lost, lines_of
from disturbed.process import Command, Fault
from lsseq.errors import LsseqError
from lsseq.runs import RunFolder, read_checkpoint, read_values

Codes = Counter[int]
"""How often each exit code was seen."""
GRACE = 30.0
"""Seconds that schedulers give between SIGTERM and SIGKILL: Slurm's and Kubernetes' default."""


def _killed_until_done(course: Course, times: int, kill: Callable[[RunFolder], Command]) -> Codes:
    """Kill runs again and again until each is finished; so many kills in all."""
    codes: Codes = Counter()
    while codes[-signal.SIGKILL] < times:
        run = course.new_run()
        while codes[-signal.SIGKILL] < times:
            codes[code := course.expect(kill(run), {0, -signal.SIGKILL})] += 1
            course.inspect(run)
            if code == 0:
                break
        course.finish(run)
    return codes


def kills(course: Course, generator: random.Random, times: int) -> Codes:
    """Killed at a random moment"""

    def kill(run: RunFolder) -> Command:
        command = course.train(run)
        command.wait_for_begin()
        command.wait(generator.uniform(0.0, course.seconds))
        command.send(signal.SIGKILL)
        return command

    return _killed_until_done(course, times, kill)


def kills_in_writes(course: Course, generator: random.Random, times: int) -> Codes:
    """Killed inside the writing of a file"""
    return _killed_until_done(
        course, times, lambda run: course.train(run, Fault(kill_at=generator.randint(1, course.calls)))
    )


def failing_calls(course: Course, generator: random.Random, times: int) -> Codes:
    """A call that writes fails: no room, quota, broken disk"""
    codes: Codes = Counter()
    for _ in range(times):
        run = course.new_run()
        number = generator.choice([errno.ENOSPC, errno.EDQUOT, errno.EIO])
        command = course.train(run, Fault(fail_at=generator.randint(1, course.calls), errno=number))
        # The removal of what is not needed any more may fail.
        codes[course.expect(command, {0, 1}, "error: ")] += 1
        course.inspect(run)
        course.finish(run)
    return codes


def full_disk(course: Course, generator: random.Random, times: int) -> Codes:
    """A full disk"""
    codes: Codes = Counter()
    for _ in range(times):
        with _disk(course.folder, generator.randint(8 << 10, course.size)) as disk:
            run = RunFolder(disk / "run")
            codes[course.expect(course.train(run), {0, 1}, "error: the disk is full")] += 1
            course.inspect(run)
            _remount(disk, "size=64m")
            course.finish(run)
    return codes


def read_only(course: Course, generator: random.Random, times: int) -> Codes:
    """A disk that cannot be written to"""
    codes: Codes = Counter()
    for _ in range(times):
        with _disk(course.folder, 64 << 20) as disk:
            run = RunFolder(disk / "run")
            kill = generator.randint(course.calls // 2, course.calls)
            course.expect(course.train(run, Fault(kill_at=kill)), {-signal.SIGKILL})
            _remount(disk, "ro")
            codes[course.expect(course.train(run), {1}, "error: no permission")] += 1
            course.expect(course.command(["eval", str(run), "--checkpoint", "last"]), {0})
            _remount(disk, "rw")
            course.finish(run)
    return codes


@contextmanager
def _disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes."""
    disk = folder / "disk"
    disk.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk))
        try:
            yield disk
        finally:
            _run("umount", str(disk))
    finally:
        disk.rmdir()


def _remount(disk: Path, option: str) -> None:
    _run("mount", "-o", f"remount,{option}", str(disk))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a file system."""
    try:
        with _disk(folder, 4096):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def clock_backwards(course: Course, generator: random.Random, times: int) -> Codes:
    """The clock goes backwards, an hour at each look, and a kill"""
    codes: Codes = Counter()
    for _ in range(times):
        run = course.new_run()
        kill = generator.randint(1, course.calls)
        codes[course.expect(course.train(run, Fault(backwards=True, kill_at=kill)), {-signal.SIGKILL})] += 1
        course.inspect(run)
        course.finish(run, Fault(backwards=True))
    return codes


def together(course: Course, generator: random.Random, times: int) -> Codes:
    """Four processes on one folder"""
    codes: Codes = Counter()
    for _ in range(times):
        run = course.new_run()
        commands = []
        for _ in range(4):
            commands.append(course.train(run))
            time.sleep(generator.uniform(0.0, 0.02))
        # Who comes after the end finds a finished run.
        ended = [course.expect(command, {0, 2}, "is in use") for command in commands]
        if 0 not in ended:
            raise Lost(f"{run}: nobody trained: {ended}")
        codes += Counter(ended)
        course.finish(run)
    return codes


def sigterm(course: Course, generator: random.Random, times: int) -> Codes:
    """SIGTERM, every second time twice at once"""
    return _signalled(course, generator, times, [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGTERM)])


def sigint_twice(course: Course, generator: random.Random, times: int) -> Codes:
    """SIGINT twice"""
    return _signalled(course, generator, times, [(signal.SIGINT, signal.SIGINT)])


def _signalled(course: Course, generator: random.Random, times: int, series: list[tuple[signal.Signals, ...]]) -> Codes:
    codes: Codes = Counter()
    while codes[130] < times:
        run = course.new_run()
        command = course.train(run)
        command.wait_for_begin()
        command.wait(generator.uniform(0.0, course.seconds))
        begin = time.perf_counter()
        for number in series[codes[130] % len(series)]:
            command.send(number)
            if number == signal.SIGINT:
                command.wait(generator.uniform(0.0, 0.01))
        codes[course.expect(command, {0, 130}, "error: interrupted")] += 1
        if (seconds := time.perf_counter() - begin) > GRACE:
            raise Lost(f"{run}: it took {seconds:.1f} s to end")
        course.inspect(run)
        _check_what_was_said(run, command.said)
        course.finish(run)
    return codes


def _check_what_was_said(run: RunFolder, said: str) -> None:
    """What was said to be saved is there, and nothing computed is missing from it."""
    if "the state was saved" not in said:
        return
    step = read_values(run.checkpoint("last"))["step"]
    if f"interrupted after step {step};" not in said or lines_of(run)[-1]["step"] != step:
        raise Lost(f"{run}: step {step} is in the checkpoint: {said}")


def damaged_files(course: Course, generator: random.Random, times: int) -> Codes:
    """Files cut off, checkpoints with a bit changed (exit code of reading)"""
    codes: Codes = Counter()
    run = course.run
    checkpoints = [path for name in ("best", "last") for path in sorted(run.checkpoint(name).iterdir())]
    for _ in range(times):
        path = generator.choice([*checkpoints, run.metrics])
        whole = path.read_bytes()
        place = generator.randrange(len(whole))
        rest = b""
        if path in checkpoints and generator.random() < 0.5:
            rest = bytes([whole[place] ^ 1 << generator.randrange(8)]) + whole[place + 1 :]
        path.write_bytes(whole[:place] + rest)
        try:
            codes[_read_all(course)] += 1
        finally:
            path.write_bytes(whole)
    return codes


def _read_all(course: Course) -> int:
    """Read the run that was left alone; the exit code. What is damaged is either noticed or changes nothing."""
    try:
        for name, (expected, values) in course.checkpoints.items():
            tensors, found = read_checkpoint(course.run.checkpoint(name), GROUPS[: 1 + (name == "last")])
            same = all(tensors["weights"][key].equal(tensor) for key, tensor in expected["weights"].items())
            if found != values or not same:
                raise Lost(f"a damaged checkpoint {name} was read")
        lines = lines_of(course.run)
    except LsseqError as error:
        return error.exit_code
    if lines != course.lines[: len(lines)]:
        raise Lost("damaged metrics were read")
    return 0
