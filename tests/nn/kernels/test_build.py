"""Compiling the CPU kernels while the package is built, and doing without them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from parity import data, make, results

import lsseq.nn as lnn
from lsseq.nn.kernels import dispatch
from lsseq.nn.kernels.cpu import native

ROOT = Path(__file__).parents[3]


@pytest.fixture
def build() -> ModuleType:
    """`hatch_build.py`, which lies beside pyproject.toml."""
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Takes the place of the C compiler: a Python program that finds the output file in `target`."""

    def use(program: str) -> None:
        file = tmp_path / "compiler.py"
        file.write_text(f"import sys\ntarget = sys.argv[sys.argv.index('-o') + 1]\n{program}\n")
        monkeypatch.setenv("CC", f"'{sys.executable}' '{file}'")

    return use


def hook(build: ModuleType, root: Path, target: str = "wheel") -> dict[str, object]:
    """What the hook says of a package at `root` that is built there."""
    (root / build.LIBRARY).parent.mkdir(parents=True, exist_ok=True)
    data: dict[str, object] = {"artifacts": [], "pure_python": True}
    build.KernelHook(str(root), {}, None, None, str(root), target).initialize("standard", data)
    return data


def test_no_compiler_is_an_error_of_the_system(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "no-compiler"))
    with pytest.raises(OSError, match="no-compiler"):
        build.compile_kernels(ROOT / build.SOURCE, tmp_path / "kernels.so")
    assert not (tmp_path / "kernels.so").exists()


def test_without_a_compiler_the_package_is_built_without_kernels(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "no-compiler"))
    old = tmp_path / build.LIBRARY
    old.parent.mkdir(parents=True)
    old.write_text("of an earlier build")
    assert hook(build, tmp_path) == {"artifacts": [], "pure_python": True}
    assert not old.exists()
    said = "".join(capsys.readouterr())
    assert "no C compiler that builds the CPU kernels, going on without" in said
    assert "no-compiler" in said


def test_what_a_compiler_says_is_shown(
    build: ModuleType, tmp_path: Path, compiler: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    compiler("sys.exit('vector.h:22: error: no vectors here')")
    assert hook(build, tmp_path)["artifacts"] == []
    assert "vector.h:22: error: no vectors here" in "".join(capsys.readouterr())


def test_a_wheel_takes_the_library_along(build: ModuleType, tmp_path: Path, compiler: Callable[[str], None]) -> None:
    compiler("open(target, 'w').write('compiled')")
    data = hook(build, tmp_path)
    assert (tmp_path / build.LIBRARY).read_text() == "compiled"
    assert data["artifacts"] == [str(build.LIBRARY)]
    assert data["pure_python"] is False
    assert str(data["tag"]).startswith("py3-none-")
    assert [path.name for path in (tmp_path / build.LIBRARY).parent.iterdir()] == ["kernels.so"]


def test_a_new_library_leaves_an_old_one_that_is_in_use(
    build: ModuleType, tmp_path: Path, compiler: Callable[[str], None]
) -> None:
    library = tmp_path / "kernels.so"
    library.write_text("old")
    compiler("open(target, 'w').write('new')")
    with library.open() as in_use:
        build.compile_kernels(ROOT / build.SOURCE, library)
        assert in_use.read() == "old"
    assert library.read_text() == "new"


def test_a_source_archive_compiles_nothing(build: ModuleType, tmp_path: Path, compiler: Callable[[str], None]) -> None:
    compiler("open(target, 'w').write('compiled')")
    assert hook(build, tmp_path, target="sdist") == {"artifacts": [], "pure_python": True}
    assert not (tmp_path / build.LIBRARY).exists()


# ---------------------------------------------------------------------------------------------- without the library


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path at which the library is looked for, where there is none."""

    def forget() -> None:
        native.library.cache_clear()
        native.instruction_set.cache_clear()
        native._function.cache_clear()
        dispatch.choose.cache_clear()

    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "kernels.so")
    forget()
    yield tmp_path / "kernels.so"
    forget()


MISSING = "the CPU kernels were not compiled when lsseq was installed (no C compiler)"


@pytest.mark.usefixtures("library")
def test_without_the_library_the_reference_computes() -> None:
    layer = make("LSTM", 4, 9, zoneout_cell=0.5)
    x, states = data(layer, 6, 3)
    got, want = (results(layer, backend, x, states) for backend in ("auto", "reference"))
    assert all(torch.equal(got[name], value) for name, value in want.items())
    layer.backend = "auto"
    assert layer.explain() == (
        "LSTM: reference (a loop over the steps in plain PyTorch operations): "
        f"PyTorch's own kernels cannot serve zoneout_cell=0.5, and {MISSING}"
    )
    assert lnn.LSTM(4, 9).explain().startswith("LSTM: cudnn (")


@pytest.mark.usefixtures("library")
def test_without_the_library_the_fused_back_end_is_refused() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        lnn.GRU(4, 9, backend="fused")
    assert str(caught.value) == f"backend='fused': {MISSING}; use 'auto' or 'reference'"


def test_a_library_that_does_not_load_says_why(library: Path) -> None:
    library.write_bytes(os.urandom(100))
    told = make("RNN", 4, 9, zoneout_hidden=0.5).explain()
    assert told.startswith("RNN: reference (")
    assert f"the CPU kernels cannot be loaded: {library}: " in told
