"""Recurrent sequence models that share and preserve state.

    lsseq.load("runs/quickstart").perplexity("Some text.")

`lsseq.nn` holds the recurrent layers and is usable alone, as `torch.nn` is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from lsseq.api import TrainedModel as TrainedModel
    from lsseq.api import load as load

__all__ = ["TrainedModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # The command line answers `--help` without importing torch, so the Python interface is imported at its first use.
    if name in ("load", "TrainedModel"):
        from lsseq import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
