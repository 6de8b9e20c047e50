"""Compiling the CPU kernels while the package is built, and doing without them."""

from __future__ import annotations

import importlib.util
import os
import shutil
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
FOLDER = Path("lsseq/nn/kernels/cpu")


def imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the kernels' sources, as they lie in the package, that are not compiled."""
    shutil.copytree(ROOT / FOLDER / "src", tmp_path / FOLDER / "src")
    shutil.copy(ROOT / FOLDER / "build.py", tmp_path / FOLDER)
    return tmp_path


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Takes the place of the C compiler: a Python program that finds the output file in `target`."""

    def use(program: str) -> None:
        file = tmp_path / "compiler.py"
        file.write_text(f"import sys\ntarget = sys.argv[sys.argv.index('-o') + 1]\n{program}\n")
        monkeypatch.setenv("CC", f"'{sys.executable}' '{file}'")

    return use


def hook(root: Path, target: str = "wheel") -> dict[str, object]:
    """What the hook says of a package at `root` that is built there."""
    pytest.importorskip("hatchling")
    data: dict[str, object] = {"artifacts": [], "pure_python": True}
    kernel_hook = imported(ROOT / "hatch_build.py").KernelHook
    kernel_hook(str(root), {}, None, None, str(root), target).initialize("standard", data)
    return data


def test_no_compiler_is_an_error_that_names_it(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", str(package / "no-compiler"))
    build = imported(package / FOLDER / "build.py")
    with pytest.raises(build.BuildError, match=r"no C compiler: .*no-compiler"):
        build.compile_kernels()
    assert not build.LIBRARY.exists()


def test_without_a_compiler_the_package_is_built_without_kernels(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", str(package / "no-compiler"))
    assert hook(package) == {"artifacts": [], "pure_python": True}
    assert "lsseq is installed without its CPU kernels: no C compiler: " in "".join(capsys.readouterr())


def test_what_a_compiler_says_is_shown(
    package: Path, compiler: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    compiler("sys.exit('vector.h:22: error: no vectors here')")
    assert hook(package)["artifacts"] == []
    assert "vector.h:22: error: no vectors here" in "".join(capsys.readouterr())


def test_a_wheel_takes_the_library_along(package: Path, compiler: Callable[[str], None]) -> None:
    compiler("open(target, 'w').write('compiled')")
    data = hook(package)
    assert (package / FOLDER / "kernels.so").read_text() == "compiled"
    assert data["artifacts"] == [str(FOLDER / "kernels.so")]
    assert data["pure_python"] is False
    assert str(data["tag"]).startswith("py3-none-")


def test_a_new_library_leaves_an_old_one_that_is_in_use(package: Path, compiler: Callable[[str], None]) -> None:
    build = imported(package / FOLDER / "build.py")
    build.LIBRARY.write_text("old")
    compiler("open(target, 'w').write('new')")
    with build.LIBRARY.open() as in_use:
        build.compile_kernels()
        assert in_use.read() == "old"
    assert build.LIBRARY.read_text() == "new"


def test_a_source_archive_compiles_nothing(package: Path, compiler: Callable[[str], None]) -> None:
    compiler("open(target, 'w').write('compiled')")
    assert hook(package, target="sdist") == {"artifacts": [], "pure_python": True}
    assert not (package / FOLDER / "kernels.so").exists()


# ---------------------------------------------------------------------------------------------- without the library


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path at which the library is looked for, where there is none."""

    def forget() -> None:
        native.compiled.cache_clear()
        native.instruction_set.cache_clear()
        native._function.cache_clear()
        dispatch.choose.cache_clear()

    monkeypatch.setattr(native.build, "LIBRARY", tmp_path / "kernels.so")
    forget()
    yield tmp_path / "kernels.so"
    forget()


MISSING = f"the CPU kernels were not compiled when lsseq was installed ({native._REMEDY})"


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
