"""The first signal asks, the second stops."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from lsseq.training.interrupt import Stop, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_asks_second_stops(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_other_threads_receive_no_signals() -> None:
    seen: list[Stop] = []

    def inside() -> None:
        with stop_on_signals() as stop:
            stop.request()
            seen.append(stop)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen[0].requested
