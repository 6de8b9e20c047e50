"""The harness of faults: a short form of it finds nothing, and it would find what is lost."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest
from disturbed.calls import DisturbedOs
from disturbed.course import Course, Lost, lines_of
from disturbed.process import Fault

from lsseq.runs import RunFolder, files


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    with faults.data_in(tmp_path_factory.mktemp("data")):
        yield Course(tmp_path_factory.mktemp("course"), steps=12)


PLAN = faults.plan(4, 1, 100, mounts=False)


@pytest.mark.parametrize(
    ("scenario", "times"), [(each, times) for each, _, times in PLAN], ids=[each.__name__ for each, *_ in PLAN]
)
def test_nothing_is_lost(course: Course, scenario: faults.Scenario, times: int) -> None:
    assert scenario(course, random.Random(1), times).total() >= times


def test_a_disk_that_can_be_mounted(course: Course) -> None:
    if not faults.scenarios.can_mount(course.folder):
        pytest.skip("no right to mount")
    for scenario in (faults.scenarios.full_disk, faults.scenarios.read_only):
        assert scenario(course, random.Random(1), 1)[1] == 1
    assert not (course.folder / "disk").exists()


def finished_copy(course: Course) -> RunFolder:
    run = course.new_run()
    course.finish(run)
    return run


def test_other_metrics_are_a_loss(course: Course) -> None:
    run = finished_copy(course)
    content = run.metrics.read_text()
    run.metrics.write_text(content.replace('"nll": ', '"nll": 1', 1))
    with pytest.raises(Lost, match="its lines"):
        course.inspect(run)
    with pytest.raises(Lost, match="other metrics"):
        course.finish(run)


def test_other_weights_are_a_loss(course: Course) -> None:
    """Those of another seed, beside the right lines."""
    run, other = finished_copy(course), course.new_run()
    course.expect(course.command(["train", str(course.recipe), "--run", str(other), "--seed", "2"]), {0})
    assert lines_of(other) != course.lines
    for file in run.checkpoint("best").iterdir():
        file.unlink()
    for file in other.checkpoint("best").iterdir():
        file.rename(run.checkpoint("best") / file.name)
    with pytest.raises(Lost, match="other figures in the checkpoint best"):
        course.finish(run)


def test_a_damaged_checkpoint_and_another_exit_code_are_losses(course: Course) -> None:
    run = finished_copy(course)
    (file,) = run.checkpoint("last").glob("training-*")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Lost, match="the checkpoint is damaged"):
        course.inspect(run)
    with pytest.raises(Lost, match="exit code 2: "):
        course.expect(course.command(["trian"]), {0, 1})
    with pytest.raises(Lost, match="it does not say"):
        course.expect(course.command(["trian"]), {2}, "the disk is full")


def test_a_run_that_is_killed_at_once_goes_on(course: Course) -> None:
    """Inside the writing of its first file, and when it is a run that has no checkpoint yet."""
    for call in (2, 12):
        run = course.new_run()
        course.expect(course.train(run, Fault(kill_at=call)), {-9})
        assert not run.checkpoint("last").exists()
        course.finish(run)


def test_the_table_counts(tmp_path: Path) -> None:
    codes = faults.scenarios.Codes({0: 1, -9: 4})
    rows = [
        faults.Row("Killed", "kills", codes, None, 1.5),
        faults.Row("Full", "faults", faults.scenarios.Codes({1: 2}), "run-3: other metrics", 2.0),
        faults.Row("Read", "inputs", faults.scenarios.Codes({1: 100}), None, 0.5),
    ]
    lines = faults.table(rows).splitlines()
    assert lines[1].split() == ["Killed", "5", "0", "1.5", "-9:", "4,", "0:", "1"]
    assert lines[2].split()[1:3] == ["2", "1"]
    assert lines[-1] == "5 kills, 2 faults, 100 inputs, 1 losses, 4 s"


def test_a_disturbed_write_leaves_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, "broken")

    calls = DisturbedOs(2, fail)
    monkeypatch.setattr(files, "os", calls)
    with pytest.raises(OSError, match="broken"):
        files.write_new(tmp_path / "a", b"0123456789")
    # Opened, written to in part, and removed.
    assert calls.count == 3
    assert not (tmp_path / "a").exists()
