"""Which process this is, and which one speaks."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from lsseq.errors import RequestError, RunError
from lsseq.processes import place
from lsseq.processes.group import ALONE, joined

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "29400"}


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> dist.Store:
    """The environment of process 3 of 4, and a store."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    store = dist.HashStore()
    store.set_timeout(timedelta(seconds=1))
    monkeypatch.setattr(place, "store", lambda: store)
    return store


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, "TORCHELASTIC_MAX_RESTARTS"):
        monkeypatch.delenv(name, raising=False)
    assert (place.size(), place.rank(), place.restarts()) == (1, 0, 0)
    assert place.speaks_first()
    assert place.speaks_first(), "who is alone says everything"
    with joined(torch.device("cpu")) as processes:
        assert processes is ALONE
    # Some schedulers set these for every job.
    monkeypatch.setenv("RANK", "7")
    assert place.rank() == 0


def test_one_of_several(shared: dist.Store) -> None:
    assert (place.size(), place.rank(), place.rank_here()) == (4, 3, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"RANK": ""}, "WORLD_SIZE is 4, and RANK is not set"),
        ({"RANK": "", "MASTER_PORT": ""}, "WORLD_SIZE is 4, and RANK and MASTER_PORT are not set"),
        ({"WORLD_SIZE": "four"}, "the environment variable WORLD_SIZE should be a number, got `four`"),
    ],
)
def test_half_an_environment(
    monkeypatch: pytest.MonkeyPatch, shared: dist.Store, changed: dict[str, str], message: str
) -> None:
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError) as caught:
        place.rank()
    assert caught.value.message == message
    assert place.speaks_first(), "an error is said where the processes cannot agree on who says it"


def test_one_speaks(shared: dist.Store) -> None:
    assert [place.speaks_first() for _ in range(3)] == [True, False, False]


def test_all_speak_where_the_store_is_gone(shared: dist.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise dist.DistNetworkError("Connection reset by peer")

    monkeypatch.setattr(place, "store", gone)
    assert place.speaks_first()


def test_waiting_ends_with_the_count_or_with_an_error_elsewhere(shared: dist.Store) -> None:
    timer = threading.Timer(0.1, lambda: shared.add("here", 2))
    timer.start()
    place.wait_for("here", 2)
    timer.join()
    place.speaks_first()
    with pytest.raises(RunError, match="a process of this training was lost"):
        place.wait_for("here", 3)


def test_more_processes_than_gpus(shared: dist.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    message = "more processes than GPUs: 1 GPU on this machine"
    with pytest.raises(RequestError, match=message) as caught, joined(torch.device("cuda")):
        pytest.fail("must not be reached")
    assert caught.value.hint == "start as many as there are: torchrun --nproc-per-node 1"
