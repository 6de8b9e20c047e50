"""Whether saved values are of the kinds that a training has."""

from __future__ import annotations

from typing import Any


def require_kinds(own: Any, saved: Any, place: str) -> None:
    """Compare saved values with those of a training before its first step, in all keys that both have.

    Args:
        own: a value that JSON can hold; None may become anything, and what a list or a mapping lacks is not known.
        saved: what takes its place.
        place: its name, for the message.

    Raises:
        ValueError: it is of another kind, or an integer below zero: they are counts.
    """
    if own is None:
        return
    if type(saved) not in ((float, int) if type(own) is float else (type(own),)):
        raise ValueError(f"{place} is no {type(own).__name__}")
    if type(own) is int and saved < 0:
        raise ValueError(f"{place} is below zero")
    if isinstance(own, dict):
        for key in own.keys() & saved.keys():
            require_kinds(own[key], saved[key], f"{place}.{key}")
