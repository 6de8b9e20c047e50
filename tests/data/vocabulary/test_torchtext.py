"""Saved torchtext vocabularies are read, and hostile files are refused without running anything.

torchtext is not installed here, so the files are written from classes that pickle in the same way: a module with the
attribute `vocab`, whose state is (version, default index as a list, tokens, tensors).
"""

from __future__ import annotations

import collections
import io
import pickle
import sys
import types
import zipfile

import pytest

from lsseq.data.vocabulary.torchtext import read_torchtext
from lsseq.errors import RequestError


@pytest.fixture
def torchtext_classes(monkeypatch):
    """Stand-ins for `torchtext.vocab.vocab.Vocab` and the class of its C++ part."""

    class Inner:
        def __init__(self, tokens, default):
            self.saved = ("0.0.2", [] if default is None else [default], tokens, [])

        def __getstate__(self):
            return self.saved

        def __setstate__(self, state):
            raise AssertionError("a real torchtext class must not be needed")

    class Outer:
        def __init__(self, tokens, default):
            self.training = True
            self._parameters = collections.OrderedDict()
            self._non_persistent_buffers_set = set()
            self._modules = collections.OrderedDict()
            self.vocab = Inner(tokens, default)

    for parent in ("torchtext", "torchtext.vocab"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    for cls, module in ((Outer, "torchtext.vocab.vocab"), (Inner, "torchtext._torchtext")):
        cls.__module__, cls.__qualname__, cls.__name__ = module, "Vocab", "Vocab"
        made = types.ModuleType(module)
        made.Vocab = cls
        monkeypatch.setitem(sys.modules, module, made)
    return Outer


def saved(path, value, *, protocol: int, archive: bool) -> None:
    data = pickle.dumps(value, protocol=protocol)
    if archive:
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("vocab/data.pkl", data)
            packed.writestr("vocab/version", "3\n")
    else:
        path.write_bytes(data)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("default", [None, 0, 2])
def test_a_saved_vocabulary_is_read(tmp_path, torchtext_classes, protocol, archive, default):
    tokens = ["<unk>", "<eos>", "the", "é"]
    path = tmp_path / "vocab.pt"
    saved(path, torchtext_classes(tokens, default), protocol=protocol, archive=archive)
    for name in ("torchtext.vocab.vocab", "torchtext._torchtext"):
        del sys.modules[name]
    assert read_torchtext(path) == (tokens, default)


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(name: str, tmp_path) -> bytes:
    mark = str(tmp_path / "touched")
    if name == "posix.system":
        import os

        return pickle.dumps(Calls(os.system, f"touch {mark}"))
    if name == "os.system by name":
        return (
            b"\x80\x02cos\nsystem\nX"
            + len(f"touch {mark}").to_bytes(4, "little")
            + f"touch {mark}".encode()
            + b"\x85R."
        )
    if name == "builtins.eval":
        return pickle.dumps(Calls(eval, f"open({mark!r}, 'w')"), protocol=4)
    if name == "builtins.exec":
        return pickle.dumps(Calls(exec, f"open({mark!r}, 'w')"), protocol=2)
    if name == "nested":
        return pickle.dumps(collections.OrderedDict(a={"b": [Calls(open, mark, "w")]}))
    if name == "getattr":
        return pickle.dumps(Calls(getattr, set, "__class__"))
    raise AssertionError(name)


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("posix.system", "posix.system"),
        ("os.system by name", "os.system"),
        ("builtins.eval", "builtins.eval"),
        ("builtins.exec", "__builtin__.exec"),
        ("nested", "_?io.open"),
        ("getattr", "builtins.getattr"),
    ],
)
def test_a_hostile_file_is_refused_by_name(tmp_path, name, told, archive):
    path = tmp_path / "vocab.pt"
    data = hostile(name, tmp_path)
    if archive:
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("vocab/data.pkl", data)
    else:
        path.write_bytes(data)
    with pytest.raises(RequestError, match=f"refused to read .*: it asks for `{told}`") as caught:
        read_torchtext(path)
    assert caught.value.exit_code == 2
    assert caught.value.hint == "save the tokens as text, one a line, and give that file"
    assert not (tmp_path / "touched").exists()


def test_data_outside_of_the_pickle_is_refused(tmp_path):
    class Outside(pickle.Pickler):
        def persistent_id(self, obj):
            return "storage" if obj == "outside" else None

    buffer = io.BytesIO()
    Outside(buffer).dump(["outside"])
    (tmp_path / "vocab.pt").write_bytes(buffer.getvalue())
    with pytest.raises(RequestError, match=r"refused to read .*: it refers to data outside of it"):
        read_torchtext(tmp_path / "vocab.pt")


@pytest.mark.parametrize(
    "content",
    [b"\x80\x04nonsense", b"", pickle.dumps(["a", "b"]), pickle.dumps(collections.OrderedDict()), pickle.dumps({1, 2})],
)
def test_what_is_no_vocabulary_is_refused(tmp_path, content):
    (tmp_path / "vocab.pt").write_bytes(content)
    with pytest.raises(RequestError, match="is not a saved torchtext vocabulary"):
        read_torchtext(tmp_path / "vocab.pt")


def test_a_state_that_is_wrong_is_refused(tmp_path, torchtext_classes):
    for tokens, default in ((["a"], 3), (["a", 1], 0), (["a"], "a")):
        saved(tmp_path / "vocab.pt", torchtext_classes(tokens, default), protocol=2, archive=False)
        with pytest.raises(RequestError, match="is not a saved torchtext vocabulary"):
            read_torchtext(tmp_path / "vocab.pt")


def test_an_archive_without_a_pickle_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "vocab.pt", "w") as packed:
        packed.writestr("other", b"")
    with pytest.raises(RequestError, match=r"the archive has no data\.pkl"):
        read_torchtext(tmp_path / "vocab.pt")
