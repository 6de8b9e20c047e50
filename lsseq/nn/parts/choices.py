"""Noise with finitely many outcomes, one a call: it can be settled instead of drawn, and all its outcomes enumerated.

A module that draws one of few sub-networks for all rows and steps of a call, such as which of its layers are kept, asks
`settled` before it draws. Noise of rows, steps or units does not: it is always drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a draw can be."""

    value: Any
    """Hashable. Outcomes of a choice that have the same value are the same network."""
    probability: float
    """Above 0."""
    name: str
    """In words."""


@dataclass(frozen=True)
class Choice:
    """All that a draw can be."""

    ways: int
    """The number of outcomes."""
    outcomes: Callable[[], Iterator[Outcome]]
    """The first is the one in which most is computed."""


Way = tuple[Outcome, ...]
"""How the choices of a call go, in the order in which they are met."""

_decide: ContextVar[Callable[[Choice], Outcome] | None] = ContextVar("lsseq_decide", default=None)


def settled(choice: Callable[[], Choice]) -> Any:
    """The value of the outcome that is settled by the surrounding context; None where it is to be drawn."""
    decide = _decide.get()
    return None if decide is None else decide(choice()).value


@contextmanager
def following(way: Way) -> Iterator[None]:
    """The choices of the call that is made in this context go this way."""
    outcomes = iter(way)
    with _deciding(lambda _: next(outcomes)):
        yield


def choices_of(call: Callable[[], object]) -> list[Choice]:
    """The choices that are met by a call in which each has its first outcome."""
    met: list[Choice] = []

    def decide(choice: Choice) -> Outcome:
        met.append(choice)
        return next(choice.outcomes())

    with _deciding(decide):
        call()
    return met


def ways_of(call: Callable[[], object]) -> Iterator[Way]:
    """Every way that the choices of a call can go, by making it once for each.

    Which choices are met may depend on how those before them went.
    """
    way: list[Outcome] = []
    untried: list[Iterator[Outcome]] = []
    while True:
        known = iter(tuple(way))

        def decide(choice: Choice, known: Iterator[Outcome] = known) -> Outcome:
            outcome = next(known, None)
            if outcome is None:
                untried.append(choice.outcomes())
                outcome = next(untried[-1])
                way.append(outcome)
            return outcome

        with _deciding(decide):
            call()
        yield tuple(way)
        while untried and (after := next(untried[-1], None)) is None:
            untried.pop()
            way.pop()
        if not untried:
            return
        way[-1] = after  # type: ignore[assignment]


@contextmanager
def _deciding(decide: Callable[[Choice], Outcome]) -> Iterator[None]:
    token = _decide.set(decide)
    try:
        yield
    finally:
        _decide.reset(token)
