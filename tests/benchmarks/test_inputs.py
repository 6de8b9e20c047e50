"""Hostile input: a short form finds nothing, and what must not be is found."""

from __future__ import annotations

import os
import pickle
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import mutations
from hostile.cage import Cage
from hostile.subjects import archive, command_line, write
from ruamel.yaml import YAML

from lsseq.cli.memory import keep_freed_memory
from lsseq.errors import RequestError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "inputs.py"


def test_a_short_form_finds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--cases", "150", "--real", "2", "--keep", tmp_path / "kept"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *rows, total = done.stdout.splitlines()
    assert re.fullmatch(r"150 cases, 0 findings, \d+ s", total)
    assert len(rows) == 12
    assert not (tmp_path / "kept").exists()


def refused() -> None:
    print("error: it is wrong", file=sys.stderr)
    sys.exit(2)


def fails() -> None:
    raise ValueError("of no name")


def says_nothing() -> None:
    sys.exit(1)


def defect() -> None:
    print("error: KeyError: 'x'\nhint: this is a defect of lsseq; --debug shows where", file=sys.stderr)
    sys.exit(1)


def refused_here() -> None:
    raise RequestError("it is wrong")


def lasts() -> None:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)


def writes_elsewhere() -> None:
    Path("../elsewhere").write_text("x")


def moves_elsewhere() -> None:
    Path("here").write_text("x")
    Path("here").rename("../elsewhere")


def unpickles() -> None:
    pickle.loads(pickle.dumps(Path))


def starts_a_process() -> None:
    subprocess.run(["true"], check=False)


def connects() -> None:
    import socket

    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 1), timeout=1)


def is_large() -> None:
    bytearray(64 << 20)


@pytest.mark.parametrize(
    ("action", "code", "found"),
    [
        (refused, 2, None),
        (refused_here, 2, None),
        (lambda: None, 0, None),
        (fails, 0, "a traceback"),
        (says_nothing, 1, "no message"),
        (defect, 1, "an error of no name"),
        (lambda: sys.exit(7), 7, "exit code 7"),
        (lasts, 130, "it took more than 0.5 s"),
        (writes_elsewhere, 0, "open .*/elsewhere"),
        (moves_elsewhere, 0, "os.rename .*/elsewhere"),
        (unpickles, 0, "pickle.find_class"),
        (starts_a_process, 0, "subprocess.Popen"),
        (connects, 0, "socket.connect"),
        (is_large, 0, r"it took \d+ MiB"),
    ],
)
def test_what_must_not_be_is_found(
    action: Callable[[], object], code: int, found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if action is is_large and not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system does not tell how large a process was")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    # A machine that does much else takes long for what takes no time.
    seconds = 0.5 if action is lasts else 60.0
    outcome = Cage(((tmp_path / "work").resolve(),), seconds, 32 << 20).run(action)
    assert outcome.code == code
    if found is None:
        assert outcome.found == []
    else:
        assert any(re.match(found, one) for one in outcome.found)
        assert len(outcome.found) == (2 if action is connects else 1)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system does not tell sizes")
def test_memory_that_the_process_kept_counts(tmp_path: Path) -> None:
    keep_freed_memory()
    bytearray(128 << 20)
    assert Cage((tmp_path,), 5.0, 32 << 20).run(is_large).found == ["it took 64 MiB"]


def test_mutations_make_other_files_and_the_same_ones_again() -> None:
    json_text, yaml_text = b'{"a": [1, {"b": null}], "c": "x"}', b"a: 1\nb:\n  c: [x, y]\n"
    tensors = len(json_text).to_bytes(8, "little") + json_text + b"\0" * 16
    for mutate, content in [
        (mutations.of_bytes, b"some text"),
        (mutations.of_json, json_text),
        (mutations.of_json_lines, json_text + b"\n" + json_text + b"\n"),
        (mutations.of_yaml, yaml_text),
        (mutations.of_safetensors, tensors),
        (mutations.of_text, b"some text\nof two lines\n"),
    ]:
        made = [mutate(content, random.Random(seed)) for seed in range(200)]
        assert made == [mutate(content, random.Random(seed)) for seed in range(200)]
        assert sum(other != content for other in made) > 150
        assert len(set(made)) > 60


def test_few_aliases_are_many_values() -> None:
    values = YAML(typ="safe").load(mutations._aliases())
    assert values["a8"][9][9][9][9][9][9][9][9][9] == "x"


def test_command_lines_and_archives_are_of_all_kinds() -> None:
    lines = [command_line(random.Random(seed)) for seed in range(300)]
    assert {"train", "eval", "compare", "generate", "recipes"} <= {word for line in lines for word in line}
    assert not {"bench", "doctor", "sweep"} & {word for line in lines for word in line}
    begins = {archive(random.Random(seed))[:2] for seed in range(50)}
    assert {b"PK", b"\x1f\x8b", b"\xfd7"} <= begins


def test_a_case_finds_only_its_own_files(tmp_path: Path) -> None:
    write({"a/b": b"1", "c": b"2"}, tmp_path)
    write({"c": b"3"}, tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("c", b"3")]
