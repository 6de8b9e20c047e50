"""SIGINT and SIGTERM ask, a second SIGINT stops, and long work that can be done again is given up."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from lsseq.training.interrupt import Stop, Stopped, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_asks_and_a_second_sigint_stops(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is before


def test_a_second_sigterm_says_no_more_than_the_first() -> None:
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_can_be_done_again_is_given_up(number: signal.Signals) -> None:
    with stop_on_signals() as stop:
        with stop.at_once():
            pass
        with pytest.raises(Stopped), stop.at_once():
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped), stop.at_once():
            pass
        assert stop.requested


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
