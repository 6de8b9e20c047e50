"""Run folders are found by path and by name, made once, and trained in by one process at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lsseq.errors import RequestError
from lsseq.runs import RunFolder, write_checkpoint


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_run(path: Path) -> Path:
    with RunFolder.claim(path, resume=False) as folder:
        folder.write_recipe("name: x\n")
    return path


def test_found_by_path_and_by_name() -> None:
    make_run(Path("runs/first"))
    make_run(Path("elsewhere/second"))
    assert RunFolder.open("first").path == Path("runs/first")
    assert RunFolder.open("runs/first").path == Path("runs/first")
    assert RunFolder.open("elsewhere/second").path == Path("elsewhere/second")


def test_a_folder_of_the_same_name_does_not_hide_the_run() -> None:
    make_run(Path("runs/first"))
    Path("first").mkdir()
    assert RunFolder.open("first").path == Path("runs/first")


def test_an_unknown_run_names_the_nearest() -> None:
    for name in ("quickstart", "ptb-char"):
        make_run(Path("runs") / name)
    with pytest.raises(RequestError) as caught:
        RunFolder.open("quikstart")
    assert str(caught.value) == (
        "error: there is no run `quikstart`; did you mean `quickstart`?\nhint: runs here: ptb-char, quickstart"
    )


def test_a_folder_that_is_no_run() -> None:
    Path("corpora").mkdir()
    with pytest.raises(RequestError) as caught:
        RunFolder.open("corpora")
    assert caught.value.message == "`corpora` is not a run folder: it holds no recipe.yaml"
    assert caught.value.hint == "there are no runs under runs/; `lsseq train` makes one"
    Path("file").write_text("x")
    with pytest.raises(RequestError, match="`file` is not a run folder: it is a file"):
        RunFolder.open("file")


def test_claiming_twice_is_refused_and_names_a_free_folder() -> None:
    make_run(Path("runs/x"))
    make_run(Path("runs/x-2"))
    with pytest.raises(RequestError) as caught, RunFolder.claim(Path("runs/x"), resume=False):
        pass
    assert caught.value.message == f"the run folder {Path('runs/x')} exists already"
    assert caught.value.hint == "`lsseq train --run runs/x --resume` goes on with it; or choose another: --run runs/x-3"
    with RunFolder.claim(Path("runs/x"), resume=True) as folder:
        assert folder.recipe.read_text() == "name: x\n"


def test_an_empty_folder_may_be_used() -> None:
    Path("mine").mkdir()
    make_run(Path("mine"))
    assert RunFolder.open("mine").recipe.is_file()


def test_a_claim_that_wrote_nothing_leaves_nothing() -> None:
    with pytest.raises(KeyError), RunFolder.claim(Path("runs/deep/x"), resume=False):
        raise KeyError
    assert not Path("runs").exists()
    Path("mine").mkdir()
    with RunFolder.claim(Path("mine"), resume=False):
        pass
    assert list(Path("mine").iterdir()) == []


def test_what_is_left_of_a_run_that_was_killed_before_it_was_one_is_removed() -> None:
    path = Path("runs/x")
    with RunFolder.claim(path, resume=False) as folder:
        folder.write_environment({})
        write_checkpoint(folder.checkpoint("last"), {}, {})
        (path / ".recipe.yaml.0123abcd").write_text("half of")
    with RunFolder.claim(path, resume=True):
        assert [entry.name for entry in path.iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "notes.txt", "vocabulary.json"])
def test_other_files_are_left_as_they_are(name: str) -> None:
    """Also one that a run may have, where no run was begun; and lines, which only a run has that was one."""
    Path("x").mkdir()
    Path("x", name).write_text("mine")
    if name != "vocabulary.json":
        Path("x/.lock").write_text("1")
    for resume in (True, False):
        with pytest.raises(RequestError, match="it holds other files"), RunFolder.claim(Path("x"), resume=resume):
            pass
    assert [entry.name for entry in Path("x").iterdir()] == [name]


def test_what_a_killed_replacement_left_is_removed() -> None:
    path = make_run(Path("runs/x"))
    (path / ".environment.json.0123abcd").write_text("half of")
    (path / ".hidden").write_text("mine")
    with RunFolder.claim(path, resume=True):
        assert sorted(entry.name for entry in path.iterdir()) == [".hidden", ".lock", "recipe.yaml"]


def test_a_new_folder_that_another_process_removes_again_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that had nothing to do in it, between our making it and our locking it."""
    make, removed = Path.mkdir, []

    def made_and_removed(path: Path, *args: Any, **kwargs: Any) -> None:
        make(path, *args, **kwargs)
        if not removed:
            removed.append(path)
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", made_and_removed)
    with RunFolder.claim(Path("x"), resume=False):
        assert removed == [Path("x")]
        assert Path("x/.lock").is_file()
    assert not Path("x").exists()


def test_a_file_in_the_way() -> None:
    Path("x").write_text("")
    for path in ("x", "x/run"):
        with (
            pytest.raises(RequestError, match="there is a file of that name"),
            RunFolder.claim(Path(path), resume=False),
        ):
            pass


HOLD = """
import sys, time
from pathlib import Path
from lsseq.runs import RunFolder
with RunFolder.claim(Path(sys.argv[1]), resume=True) as folder:
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_in_use_is_refused_and_free_after_a_kill() -> None:
    path = make_run(Path("runs/x"))
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for resume in (True, False):
            with pytest.raises(RequestError) as caught, RunFolder.claim(path, resume=resume):
                pass
            assert caught.value.message == f"the run folder {path} is in use by process {holder.pid}"
            assert caught.value.exit_code == 2
        os.kill(holder.pid, signal.SIGKILL)
    with RunFolder.claim(path, resume=True) as folder:
        assert folder.path == path


def test_environment_is_json(tmp_path: Path) -> None:
    with RunFolder.claim(Path("x"), resume=False) as folder:
        folder.write_environment({"command": "lsseq train é"})
    assert json.loads(Path("x/environment.json").read_text(encoding="utf-8")) == {"command": "lsseq train é"}


def test_a_folder_is_in_use_while_it_is_claimed() -> None:
    run = RunFolder(make_run(Path("runs/first")))
    assert not run.in_use()
    with RunFolder.claim(run.path, resume=True):
        assert run.in_use()
    assert not run.in_use()
    lock = run.path / ".lock"
    for owner in ("", "no number", "1", str(2**22 + 1)):
        lock.write_text(owner, encoding="ascii")
        assert not run.in_use()
    # To ask does not keep anybody out.
    with RunFolder.claim(run.path, resume=True):
        pass


@pytest.mark.parametrize("name", ["", ".", "inner/.."])
def test_a_folder_without_a_name_of_its_own(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="is not a run folder") as caught, RunFolder.claim(Path(name), resume=False):
        pass
    assert caught.value.hint == f"choose another: --run {Path(name) / 'run-2'}"
