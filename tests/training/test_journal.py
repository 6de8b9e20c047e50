"""Lines go to metrics.jsonl always and to TensorBoard where it is installed."""

from __future__ import annotations

import errno
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest

from lsseq.runs import RunFolder, read_metrics
from lsseq.training.journal import Journal


def line(step: int) -> dict[str, object]:
    return {"step": step, "epoch": 0, "split": "train", "nll": step / 3, "rate": [0.5, 0.25], "lr": float("nan")}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    journal = Journal(RunFolder(tmp_path), 0, 0)
    journal.write(line(3))
    journal.close()
    assert scalars(tmp_path / "tensorboard") == {
        "train/nll": [(3, 1.0)],
        "train/rate/0": [(3, 0.5)],
        "train/rate/1": [(3, 0.25)],
    }


def test_a_resumed_run_withdraws_what_came_later(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    journal = Journal(RunFolder(tmp_path), 0, 0)
    journal.write(line(3))
    position = journal.sync()
    journal.write(line(6))
    journal.close()
    journal = Journal(RunFolder(tmp_path), position, 3)
    journal.write(line(9))
    journal.close()
    assert scalars(tmp_path / "tensorboard")["train/nll"] == [(3, 1.0), (9, 3.0)]
    assert [read["step"] for read in read_metrics(tmp_path / "metrics.jsonl")] == [3, 9]


def test_without_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    journal = Journal(RunFolder(tmp_path), 0, 0)
    journal.write(line(3))
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert read_metrics(tmp_path / "metrics.jsonl") == [line(3) | {"lr": None}]
    assert capfd.readouterr() == ("", "")


def test_what_fails_in_tensorboards_thread_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("tensorboard.summary.writer.record_writer")
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: told.append(failure.exc_value))

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.RecordWriter, "write", no_room)
    before = set(threading.enumerate())

    def failing() -> None:
        journal = Journal(RunFolder(tmp_path), 0, 0)
        for step in range(1000):
            journal.write(line(step))
            journal.sync()

    with pytest.raises(OSError, match="No space left"):
        failing()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert told == []

    other = ValueError("of another thread")
    thread = threading.Thread(target=lambda: (_ for _ in ()).throw(other))
    thread.start()
    thread.join()
    assert told == [other]


def test_the_end_does_not_wait_long_for_a_thread_whose_call_an_interrupt_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the two halves of `notify`: the thread wakes, and its old place in the line stays."""
    pytest.importorskip("tensorboard")
    journal, whole = Journal(RunFolder(tmp_path), 0, 0), threading.Condition.notify

    def half(condition: Any, n: int = 1) -> None:
        if threading.current_thread() is threading.main_thread() and condition._waiters:
            condition._waiters[0].release()
            raise KeyboardInterrupt
        whole(condition, n)

    monkeypatch.setattr(threading.Condition, "notify", half)
    interrupted = False
    for step in range(1, 1000):
        try:
            journal.write(line(step))
            time.sleep(0.01)
        except KeyboardInterrupt:
            interrupted = True
            break
    assert interrupted, "the thread never waited"
    monkeypatch.setattr(threading.Condition, "notify", whole)
    # The thread takes what it was woken for, and waits again.
    time.sleep(0.2)
    begin = time.perf_counter()
    journal.close()
    assert time.perf_counter() - begin < 60.0


def test_a_broken_tensorboard_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            raise TypeError("Descriptors cannot be created directly")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", Broken("broken"))
    journal = Journal(RunFolder(tmp_path), 0, 0)
    journal.write(line(3))
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    told = "note: TensorBoard is broken and gets no figures: Descriptors cannot be created directly\n"
    assert capfd.readouterr() == ("", told)
