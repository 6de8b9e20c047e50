"""Faults of a recipe that are found after it was read, when a part is built from it."""

from __future__ import annotations

from collections.abc import Sequence

from lsseq.errors import Place, Problem, RequestError


class KeyFault(RequestError):  # noqa: N818 - what is at fault is a key
    """The value of one key cannot be served, for example an option that a recurrence does not have.

    Who builds from a recipe raises it with the dotted key and knows no files; `Loaded.blame` adds the place.
    """

    def __init__(
        self,
        key: str,
        message: str,
        *,
        place: Place | None = None,
        suggestion: str | None = None,
        hint: str | None = None,
        more: Sequence[Problem] = (),
    ) -> None:
        super().__init__(message, place, suggestion, hint, tuple(more))
        self.key = key
