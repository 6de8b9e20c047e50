"""Reads JSON that anyone may have written."""

from __future__ import annotations

import json
from typing import Any

_DIGITS = 40
"""Of the longest integer; generators of random numbers have states of 128 bits."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, is nested too deeply, or has an integer of very many digits.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"it has an integer of {len(digits)} digits")
    return int(digits)
