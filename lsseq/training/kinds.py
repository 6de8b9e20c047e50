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
        ValueError: it is of another kind.
    """
    if own is None:
        return
    if _kind(own) is not _kind(saved):
        raise ValueError(f"{place} is no {_kind(own).__name__}")
    if isinstance(own, dict):
        for key in own.keys() & saved.keys():
            require_kinds(own[key], saved[key], f"{place}.{key}")


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)
