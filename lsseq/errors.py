"""The errors that a user can cause or meet, and the one place that prints them.

Anything the user can mend is an `LsseqError`: it says what is wrong, where, and what would be right. `RequestError`
means that the request itself is wrong (exit code 2), `RunError` that it was right and its execution failed (exit code
1). Everything else that escapes is a defect of lsseq.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    """A position in something the user wrote: a file, or an argument of the command line."""

    source: str
    line: int | None = None
    """Counted from 1."""
    column: int | None = None
    """Counted from 1."""
    text: str | None = None
    """The line itself; printed under the message when it is known."""
    width: int = 1
    """How many characters from `column` on are marked."""

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, with its place and the nearest right answer."""

    message: str
    place: Place | None = None
    suggestion: str | None = None
    """A short phrase that stands beside the mark, such as "did you mean `hidden`?"."""


@dataclass(eq=False)
class LsseqError(Exception):
    """Base of all errors that are reported without a traceback."""

    message: str
    place: Place | None = None
    suggestion: str | None = None
    hint: str | None = None
    more: Sequence[Problem] = field(default_factory=tuple)
    """Further problems found in the same go, so that the user mends them all at once."""

    exit_code = 1

    @property
    def problems(self) -> list[Problem]:
        return [Problem(self.message, self.place, self.suggestion), *self.more]

    def __str__(self) -> str:
        return render(self)


class RequestError(LsseqError):
    """The request is wrong: an unknown key, a bad value, a file that is not there."""

    exit_code = 2

    @classmethod
    def of(cls, problems: Sequence[Problem], hint: str | None = None) -> RequestError:
        """One error out of at least one problem."""
        first, *rest = problems
        return cls(first.message, first.place, first.suggestion, hint, tuple(rest))


class RunError(LsseqError):
    """The request was right, and carrying it out failed: divergence, a full disk, a damaged checkpoint."""

    exit_code = 1


class Interrupted(LsseqError):  # noqa: N818 - it is no error of anybody
    """SIGINT or SIGTERM arrived; the state was saved."""

    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The phrase "did you mean `x`?" for the known word most like `word`, or None where nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else None


def render(error: LsseqError) -> str:
    """The text of an error as the command line prints it.

    error: unknown key `hiden` in model.zoneout
      --> recipes/ptb-char/zoneout-lstm.yaml:6
    6 |   zoneout: {cell: 0.5, hiden: 0.05}
      |                        ^^^^^ did you mean `hidden`?
    hint: `lsseq recipes schema model` lists the keys allowed here
    """
    lines: list[str] = []
    for problem in error.problems:
        lines += _render_problem(problem)
    if error.hint:
        lines.append(f"hint: {error.hint}")
    return "\n".join(lines)


def _render_problem(problem: Problem) -> list[str]:
    place, suggestion = problem.place, problem.suggestion
    marked = place is not None and place.text is not None and place.column is not None
    lines = [f"error: {problem.message}" + (f"; {suggestion}" if suggestion and not marked else "")]
    if place is None:
        return lines
    lines.append(f"  --> {place.source}" + (f":{place.line}" if place.line is not None else ""))
    if place.text is not None and place.column is not None:
        number = "" if place.line is None else str(place.line)
        blank = " " * len(number)
        text, column = _excerpt(place.text.rstrip(), place.column - 1)
        lines.append(f"{number} | {text}")
        mark = " " * column + "^" * max(1, min(place.width, len(text) - column))
        lines.append(f"{blank} | {mark}" + (f" {suggestion}" if suggestion else ""))
    return lines


def _excerpt(text: str, column: int, width: int = 120) -> tuple[str, int]:
    """The part of a line about a column, counted from 0, and the column in it; a tab becomes one space, under which a
    mark stands right, and other characters that would move the cursor are shown as a dot."""
    text = "".join(symbol if symbol.isprintable() else " " if symbol == "\t" else "·" for symbol in text)
    if len(text) <= width:
        return text, column
    start = max(0, min(column - width // 3, len(text) - width))
    before, after = "…" if start else "", "…" if start + width < len(text) else ""
    return f"{before}{text[start : start + width]}{after}", column - start + len(before)
