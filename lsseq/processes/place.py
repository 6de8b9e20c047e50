"""Which of several processes this one is, and which of them speaks when something went wrong."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from lsseq.errors import RequestError, RunError

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
_SAID = "said"
_PAUSE = 0.05
"""Seconds between two looks at the store. Sleeping can be interrupted by a signal, and waiting in the store cannot."""


def size() -> int:
    """N, how many processes there are.

    Raises:
        RequestError: the environment tells of several and not how they find each other.
    """
    count = _number("WORLD_SIZE", 1)
    if count > 1 and (missing := [name for name in _NEEDED if not os.environ.get(name)]):
        raise RequestError(
            f"WORLD_SIZE is {count}, and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            hint="start several processes with: torchrun --nproc-per-node N -m lsseq train …; for one unset WORLD_SIZE",
        )
    return count


def rank() -> int:
    """Which of them this one is, from 0 on; process 0 leads: it alone writes and prints."""
    return _number("RANK", 0) if size() > 1 else 0


def rank_here() -> int:
    """Which of those on this machine."""
    return _number("LOCAL_RANK", 0)


def restarts() -> int:
    """How often `torchrun` is to start all of them again where one fails; also of one that is alone."""
    return _number("TORCHELASTIC_MAX_RESTARTS", 0)


@lru_cache(maxsize=1)
def store() -> Store:
    """What all processes can read and write, empty at the start and after each restart."""
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

    kept: Store = next(rendezvous("env://"))[0]
    # `torchrun` may keep one for all restarts.
    return PrefixStore(f"lsseq {_number('TORCHELASTIC_RESTART_COUNT', 0)}", kept)


def wait_for(key: str, count: int) -> None:
    """Wait until so much was added to a number in the store.

    Raises:
        RunError: another process has failed meanwhile.
    """
    while store().add(key, 0) < count:
        if store().add(_SAID, 0) > 0:
            raise lost()
        time.sleep(_PAUSE)


def speaks_first() -> bool:
    """Whether nothing was said yet of why the processes end, so that this one should; True once.

    Where one fails, the others fail too, for the same reason or since they lost it.
    """
    try:
        return size() == 1 or store().add(_SAID, 1) == 1
    except (RuntimeError, RequestError):
        return True


def lost() -> RunError:
    """The error of a process that another one has left alone."""
    return RunError(
        "a process of this training was lost, and all others have stopped",
        hint="--resume goes on from the last checkpoint; `torchrun --max-restarts N` does so by itself",
    )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise RequestError(f"the environment variable {name} should be a number, got `{text}`") from None
