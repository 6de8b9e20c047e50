"""Checkpoints come back as they were written, survive a kill at any moment, and say what is wrong with them."""

from __future__ import annotations

import errno
import hashlib
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from disturbed.calls import DisturbedOs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsseq.errors import RunError
from lsseq.runs import checkpoint as module
from lsseq.runs import digest_of, files, read_checkpoint, read_values, write_checkpoint
from lsseq.runs.checkpoint import MANIFEST


def tensors(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(5, 3, generator=generator)
    return {
        "weights": {"embedding.weight": table, "output.weight": table, "bias": torch.randn(5, generator=generator)},
        "training": {
            "rng": torch.randint(0, 255, (16,), dtype=torch.uint8, generator=generator),
            "step": torch.tensor(7.0),
            "transposed": torch.randn(4, 3, generator=generator).T,
            "empty": torch.empty(0, 3),
            "half": torch.randn(3, generator=generator).bfloat16(),
        },
    }


def assert_same(read: dict[str, dict[str, torch.Tensor]], written: dict[str, dict[str, torch.Tensor]]) -> None:
    assert read.keys() == written.keys()
    for group, named in written.items():
        assert read[group].keys() == named.keys()
        for name, tensor in named.items():
            assert read[group][name].dtype == tensor.dtype
            assert torch.equal(read[group][name], tensor), name


def test_comes_back(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last", tensors(), {"step": 3})
    read, values = read_checkpoint(tmp_path / "last", ["weights", "training"])
    assert_same(read, tensors())
    assert values == read_values(tmp_path / "last") == {"step": 3}


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    table = torch.randn(100, 100)
    write_checkpoint(tmp_path, {"weights": {"a": table, "b": table}}, {})
    (file,) = tmp_path.glob("weights-*")
    assert file.stat().st_size < 1.1 * table.numel() * 4
    read = read_checkpoint(tmp_path)[0]["weights"]
    assert read["a"].data_ptr() == read["b"].data_ptr()
    elsewhere = read_checkpoint(tmp_path, device="meta")[0]["weights"]
    assert elsewhere["a"] is elsewhere["b"]


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    sums = set()
    for n in range(8):
        write_checkpoint(tmp_path / str(n), tensors(), {})
        (file,) = (tmp_path / str(n)).glob("weights-*")
        sums.add(hashlib.sha256(file.read_bytes()).hexdigest())
    assert len(sums) == 1


def test_only_the_newest_files_remain(tmp_path: Path) -> None:
    for step in range(3):
        write_checkpoint(tmp_path, tensors(step), {"step": step})
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == [MANIFEST, "training", "values", "weights"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.text(), json_values, max_size=4))
def test_values_come_back_exactly(tmp_path: Path, values: dict[str, Any]) -> None:
    write_checkpoint(tmp_path, {}, values)
    assert read_values(tmp_path) == values
    assert repr(read_values(tmp_path)) == repr(values)  # tells -0.0 from 0.0 and 1 from 1.0


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {}, {"best": math.inf, "worst": -math.inf, "lost": math.nan})
    values = read_values(tmp_path)
    assert (values["best"], values["worst"]) == (math.inf, -math.inf)
    assert math.isnan(values["lost"])


class Killed(BaseException):
    """Stands for SIGKILL: nothing cleans up after it."""


def failing_os(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> DisturbedOs:
    """`os` for lsseq.runs.files whose system call number `at` fails; a write puts half of its bytes on the disk."""

    def fail() -> None:
        raise error

    calls = DisturbedOs(at, fail)
    monkeypatch.setattr(files, "os", calls)
    return calls


def system_calls_of_a_write(tmp_path: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        calls = failing_os(patch, at=-1, error=Killed())
        write_checkpoint(tmp_path, tensors(1), {"step": 1})
    return calls.count


def test_a_kill_at_any_system_call_leaves_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (reference := tmp_path / "reference").mkdir()
    write_checkpoint(reference, tensors(0), {"step": 0})
    total = system_calls_of_a_write(reference)
    seen = set()
    for at in range(1, total + 1):
        folder = tmp_path / f"at-{at}"
        write_checkpoint(folder, tensors(0), {"step": 0})
        with pytest.MonkeyPatch.context() as patch:
            failing_os(patch, at, Killed())
            with pytest.raises(Killed):
                write_checkpoint(folder, tensors(1), {"step": 1})
        read, values = read_checkpoint(folder, ["weights", "training"])
        assert_same(read, tensors(values["step"]))
        seen.add(values["step"])
        write_checkpoint(folder, tensors(2), {"step": 2})
        assert read_values(folder) == {"step": 2}
        assert len(list(folder.iterdir())) == 4, "what the kill left behind is removed by the next write"
    assert total > 15
    assert seen == {0, 1}


def test_a_full_disk_leaves_a_whole_checkpoint_and_no_rubbish(tmp_path: Path) -> None:
    total = system_calls_of_a_write(tmp_path / "reference")
    failures = 0
    for at in range(1, total + 1):
        folder = tmp_path / f"at-{at}"
        write_checkpoint(folder, tensors(0), {"step": 0})
        with pytest.MonkeyPatch.context() as patch, suppress(OSError):
            failing_os(patch, at, OSError(errno.ENOSPC, "No space left on device"))
            failures += 1
            write_checkpoint(folder, tensors(1), {"step": 1})
            failures -= 1
        read, values = read_checkpoint(folder, ["weights", "training"])
        assert_same(read, tensors(values["step"]))
        # Only a file whose removal is what failed may be left over.
        assert len(list(folder.iterdir())) <= 5
    assert failures > 10


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flip":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("group", "how", "message"),
    [
        ("weights", "cut", "bytes instead of"),
        ("weights", "flip", "its SHA-256 is not the one in checkpoint.json"),
        ("weights", "remove", "it is missing"),
        ("values", "flip", "its SHA-256 is not the one in checkpoint.json"),
        ("checkpoint", "cut", "it is not the JSON object that it should be"),
    ],
)
def test_damage_is_named(tmp_path: Path, group: str, how: str, message: str) -> None:
    for name in ("best", "last"):
        write_checkpoint(tmp_path / name, tensors(), {"step": 1})
    (file,) = (tmp_path / "best").glob(f"{group}*")
    damage(file, how)
    with pytest.raises(RunError) as caught:
        read_checkpoint(tmp_path / "best", ["weights"])
    assert caught.value.message.startswith(f"the checkpoint is damaged: {file}: ")
    assert message in caught.value.message
    assert caught.value.hint == "the checkpoint `last` of this run is a separate copy"


def reseal(folder: Path, group: str, content: bytes) -> None:
    """Put another content in the place of a group's file, with the right sum, as anyone can."""
    manifest = json.loads((folder / MANIFEST).read_text())
    entry = manifest["files"][group]
    (folder / entry["name"]).write_bytes(content)
    entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def of_tensors(header: object) -> bytes:
    """A safetensors file with this header, and 8 bytes of tensors."""
    written = json.dumps(header).encode()
    return len(written).to_bytes(8, "little") + written + bytes(8)


def with_aliases(text: str) -> dict[str, object]:
    return {"__metadata__": {"lsseq": text}}


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("group", "content", "message"),
    [
        ("values", b"{", "its values cannot be read (Expecting"),
        ("values", b"[" * 100_000, "its values cannot be read (it is nested too deeply)"),
        ("values", b"[1]", "its values are no JSON object"),
        ("weights", b"", "its tensors cannot be read"),
        ("weights", b"\xff" * 40, "its tensors cannot be read"),
        ("weights", of_tensors({"a": ENTRY}), "its tensors cannot be read"),
        ("weights", of_tensors({"a": ENTRY | {"shape": [3]}}), "its tensors cannot be read"),
        ("weights", of_tensors({"a": ENTRY} | with_aliases("5")), "its tensors cannot be read"),
        ("weights", of_tensors({"a": ENTRY} | with_aliases('{"aliases": [1]}')), "its tensors cannot be read"),
        ("weights", of_tensors({"a": ENTRY} | with_aliases('{"aliases": {"b": "c"}}')), "cannot be read ('c')"),
    ],
)
def test_damage_with_the_right_sum_is_named(tmp_path: Path, group: str, content: bytes, message: str) -> None:
    write_checkpoint(tmp_path, tensors(), {"step": 1})
    reseal(tmp_path, group, content)
    with pytest.raises(RunError) as caught:
        read_checkpoint(tmp_path)
    assert caught.value.message.startswith(f"the checkpoint is damaged: {tmp_path}")
    assert message in caught.value.message


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "a/b", "..", "", "a\0b"])
def test_a_manifest_names_files_beside_it_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "last"
    write_checkpoint(folder, tensors(), {"step": 1})
    manifest = json.loads((folder / MANIFEST).read_text())
    (tmp_path / "other").write_bytes((folder / manifest["files"]["weights"]["name"]).read_bytes())
    manifest["files"]["weights"]["name"] = name
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="it names no file for `weights`"):
        read_checkpoint(folder)


def test_no_checkpoint_says_which_there_are(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_checkpoint(run / "checkpoints" / "last", tensors(), {})
    with pytest.raises(RunError) as caught:
        read_checkpoint(run / "checkpoints" / "best")
    assert caught.value.message == f"the run {run} has no checkpoint `best`"
    assert caught.value.hint == "it has last: --checkpoint last"


@pytest.mark.parametrize("files", [[], {"weights": 5}, {"weights": {"name": 5, "bytes": 1, "sha256": ""}}])
def test_a_manifest_that_names_no_files(tmp_path: Path, files: object) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"format": 1, "files": files}))
    with pytest.raises(RunError, match="it names no file for `weights`"):
        read_checkpoint(tmp_path)


def test_newer_format_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors(), {})
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(RunError, match="written by a newer lsseq"):
        read_checkpoint(tmp_path)


def test_a_checkpoint_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, tensors(0), {"step": 0})
    real = module._verified
    replaced = []

    def replace_first(folder: Path, entries: Any, group: str) -> bytes:
        if not replaced:
            replaced.append(True)
            write_checkpoint(tmp_path, tensors(1), {"step": 1})
        return real(folder, entries, group)

    monkeypatch.setattr(module, "_verified", replace_first)
    read, values = read_checkpoint(tmp_path, ["weights", "training"])
    assert values == {"step": 1}
    assert_same(read, tensors(1))


def test_the_digest_is_the_manifests(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors(), {})
    (file,) = tmp_path.glob("weights-*")
    assert digest_of(tmp_path) == hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()
    assert len(digest_of(tmp_path)) == 64
