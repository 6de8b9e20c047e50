"""Reads damaged and hostile input, and shows that lsseq survives it.

    python benchmarks/inputs.py [--cases 100000] [--seed 1] [--real 200] [--seconds 20] [--memory 1024] [--keep DIR]

Recipes, vocabularies, sentencepiece models, checkpoints, other files of a run, metrics, texts, archives, spaces of
sweeps and command lines are made wrong (`hostile/mutations.py`), and the command that reads them is run. It must end
with exit code 0, 1 or 2, and where that is not 0 with a message; without a traceback, within so many seconds and MiB,
and without a file that is changed outside its folder, a pickled class, a process or a connection. All cases run in one
process, so that its state is tried, too; where it dies, that is a finding, and another goes on. Some run through the
real command, which must end as it did there. The exit code is 1 where there are findings.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.dont_write_bytecode = True


BEGIN = 300.0
"""Seconds in which a process must have trained what is to be damaged."""


@dataclass(frozen=True)
class Limits:
    """Of one case."""

    seconds: float
    memory: int
    """MiB"""


@dataclass(frozen=True)
class Ended:
    """A case that was run."""

    number: int
    subject: str
    told: str
    code: int
    seconds: float
    found: Sequence[str]


def cases(
    folder: Path, numbers: Sequence[int], seed: int, limits: Limits, real: set[int], keep: Path | None = None
) -> Iterator[Ended | None]:
    """Run these cases in this process, those in `real` by the command, too; None once they can begin. What the findings
    are about lies in `keep` afterwards."""
    from hostile.cage import Cage
    from hostile.subjects import Subjects, write

    work, home = folder / "work", folder / "home"
    for path in (work, home):
        path.mkdir(exist_ok=True)
    for name in ("HOME", "TMPDIR", "LSSEQ_DATA", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ[name] = str(home)
    tempfile.tempdir = str(home)
    os.chdir(work)
    subjects = Subjects(work)
    yield None
    _limit_memory(8 * limits.memory)
    cage = Cage((work.resolve(), home.resolve()), limits.seconds, limits.memory << 20)
    for number in numbers:
        subject, case = subjects.case(random.Random(f"{seed} {number}"))
        write(case.files, work)
        outcome = cage.run(case.action, may_last=case.may_last)
        found = list(outcome.found)
        for path in folder.iterdir():
            if path not in (work, home):
                found.append(f"{path.name} beside its folder")
                path.rename(home / f"{number}-{path.name}")
        if number in real and case.arguments is not None:
            write(case.files, work)
            found += _by_command(case.arguments, outcome.code, limits.seconds)
        if found and keep is not None:
            case.files["said"] = f"{case.told}\n{outcome.said}\n{found}\n".encode(errors="replace")
            (keep / str(number)).mkdir(parents=True, exist_ok=True)
            write(case.files, keep / str(number))
        yield Ended(number, subject, case.told, outcome.code, outcome.seconds, found)


def _by_command(arguments: Sequence[str], code: int, seconds: float) -> list[str]:
    command = [sys.executable, "-m", "lsseq", *arguments]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=10 * seconds, check=False)
    except subprocess.TimeoutExpired:
        return ["the command hangs"]
    except ValueError:  # What no command line can have.
        return []
    found = [] if ended.returncode == code else [f"exit code {ended.returncode} of the command instead of {code}"]
    return found + ["a traceback of the command"] * (b"Traceback (most recent" in ended.stderr)


def _limit_memory(further: int) -> None:
    """So many MiB more than the process has, so that the machine lives."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (further << 20), resource.RLIM_INFINITY))


def _work(end: Connection, folder: Path, *arguments: Any) -> None:
    """The process in which cases run: tells of each that it begins, and how it ended."""
    output = os.open(folder / "home" / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(output, standard)
    for ended in cases(folder, *arguments):
        end.send(ended)
    end.close()


def run(
    folder: Path, numbers: Sequence[int], seed: int, limits: Limits, real: set[int], keep: Path | None = None
) -> Iterator[Ended]:
    """Run these cases in a process, and in another where that dies."""
    context = multiprocessing.get_context("spawn")
    (folder / "home").mkdir(exist_ok=True)
    done = 0
    while done < len(numbers):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(sender, folder, numbers[done:], seed, limits, real, keep))
        process.start()
        sender.close()
        ready = False
        with contextlib.suppress(EOFError):
            while receiver.poll(BEGIN if not ready else 20 * limits.seconds):
                if (ended := receiver.recv()) is None:
                    ready = True
                else:
                    yield ended
                    done += 1
        process.join(10)
        process.kill()
        process.join()
        if not ready:
            raise RuntimeError((folder / "home" / "output").read_text(errors="replace")[-2000:])
        if done < len(numbers):
            how = f"the process ended with {process.exitcode}"
            yield Ended(numbers[done], "?", "", process.exitcode or 0, 0.0, [how])
            done += 1


def table(endings: dict[str, Counter[int]], seconds: dict[str, float], findings: int) -> str:
    """How often each subject ended how."""
    lines = [f"{'input':<36}{'cases':>8}{'seconds':>9}  exit codes"]
    for name, codes in sorted(endings.items()):
        each = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
        lines.append(f"{name:<36}{codes.total():>8}{seconds[name]:>9.1f}  {each}")
    total = sum(codes.total() for codes in endings.values())
    lines.append(f"{total} cases, {findings} findings, {sum(seconds.values()):.0f} s")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", type=int, default=200, help="of them that run by the command, too")
    parser.add_argument("--seconds", type=float, default=20.0, help="that a case may take")
    parser.add_argument("--memory", type=int, default=1024, help="MiB that a case may take")
    parser.add_argument("--keep", type=Path, help="folder that gets the files of every finding")
    options = parser.parse_args()
    limits = Limits(options.seconds, options.memory)
    keep = options.keep and options.keep.absolute()
    real = set(range(0, options.cases, max(1, options.cases // options.real))) if options.real else set()
    endings: dict[str, Counter[int]] = defaultdict(Counter)
    seconds: dict[str, float] = defaultdict(float)
    findings, begin = 0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for ended in run(Path(folder), range(options.cases), options.seed, limits, real, keep):
            endings[ended.subject][ended.code] += 1
            seconds[ended.subject] += ended.seconds
            if ended.found:
                findings += 1
                print(f"case {ended.number}, {ended.subject}: {'; '.join(ended.found)}: {ended.told}", file=sys.stderr)
            if ended.number % 5000 == 4999:
                print(f"{ended.number + 1} cases, {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    print(table(endings, seconds, findings))
    sys.exit(findings > 0)


if __name__ == "__main__":
    main()
