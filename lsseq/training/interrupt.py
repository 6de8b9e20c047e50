"""SIGINT and SIGTERM ask the loop to stop after its step; a second SIGINT stops it at once.

A second SIGTERM says no more than the first: schedulers and process groups deliver it more than once, and it is sent so
that the state can be saved. Who has no time left sends SIGKILL.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """Work was given up that can be done again."""


class Stop:
    """Whether somebody asked the training to stop."""

    interruptible = False
    """What is under way may be given up."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        self.requested = True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What happens inside may take long and can be done again: a signal gives it up.

        Raises:
            Stopped: there was a request before, or a signal inside.
        """
        if self.requested:
            raise Stopped
        self.interruptible = True
        try:
            yield
        finally:
            self.interruptible = False


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM inside into a request; a SIGINT after one raises KeyboardInterrupt.

    Only the main thread of a process receives signals; in another the request can only come from `Stop.request`.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.request()
        if stop.interruptible:
            stop.interruptible = False
            raise Stopped

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
