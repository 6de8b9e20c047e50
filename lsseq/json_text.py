"""Reads JSON that anyone may have written."""

from __future__ import annotations

import json
import re
from typing import Any

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""A surrogate, which makes a character with another one beside it."""
_DIGITS = 40
"""Of the longest integer; generators of random numbers have states of 128 bits."""


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"it has an integer of {len(digits)} digits")
    return int(digits)


_DECODER = json.JSONDecoder(parse_int=_integer)
"""Made once, since metrics are read line by line."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, is nested too deeply, or has an integer of very many digits or half of a character.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode()
        value = _DECODER.decode(decoded)
        if _HALF.search(decoded):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it has half of a character, which no text can have") from None
    return value
