"""Where the files that come with lsseq lie: recipes and data scripts, in a checkout as in an installed wheel."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parent


def _shipped(name: str) -> Path:
    installed = _PACKAGE / "share" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def recipes_folder() -> Path:
    """The folder of the recipes that come with lsseq."""
    return _shipped("recipes")


def data_scripts_folder() -> Path:
    """The folder of the corpus scripts that come with lsseq."""
    return _shipped("data_scripts")


def data_folder() -> Path:
    """Where prepared corpora and token caches go: `$LSSEQ_DATA`, by default lsseq's part of the user's cache folder."""
    if chosen := os.environ.get("LSSEQ_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "lsseq"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lsseq"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lsseq"
