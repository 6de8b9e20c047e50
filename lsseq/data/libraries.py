"""Libraries that are imported at their first use."""

from __future__ import annotations

import importlib
from typing import Any

from lsseq.errors import RunError


def library(name: str) -> Any:
    """The module of a library.

    Raises:
        RunError: it is missing or broken; says what installs it.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        # One that was built for another numpy may raise nearly anything.
        raise RunError(
            f"the library `{name}` cannot be imported: {error}", hint=f"`pip install {name}` installs it"
        ) from error
