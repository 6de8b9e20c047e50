"""Compiles the CPU kernels while the package is built: `pip install` takes them along where there is a C compiler.

Without one the package is built without them, and lsseq computes those recurrences with PyTorch's operations.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("lsseq/nn/kernels/cpu/src")
LIBRARY = Path("lsseq/nn/kernels/cpu/kernels.so")

# Not -ffast-math: linking with it makes the process flush denormal numbers, and it may drop checks for NaN.
FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-fvisibility=hidden"]

TYPES = {"float32": [], "float64": ["-DDOUBLE"]}

# Instruction sets, each with its flags; the library takes the best that the processor has.
PLAIN = {"plain": ["-DVECTOR_BYTES=16"]}
X86 = {
    **PLAIN,
    "avx2": ["-DVECTOR_BYTES=32", "-mavx2", "-mfma"],
    "avx512": ["-DVECTOR_BYTES=64", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"],
}


class KernelHook(BuildHookInterface[Any]):
    """Adds the compiled library to a wheel, or to the source tree of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        try:
            compile_kernels(root / SOURCE, root / LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            (root / LIBRARY).unlink(missing_ok=True)
            said = getattr(error, "stderr", None) or error
            self.app.display_warning(f"lsseq: no C compiler that builds the CPU kernels, going on without: {said}")
            return
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        # The library is loaded by ctypes: it is tied to the system, and not to a version of Python.
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{system}"


def compile_kernels(source: Path, library: Path) -> None:
    """Compile the kernels for every type and instruction set into one library.

    Raises:
        OSError: there is no compiler.
        subprocess.CalledProcessError: it failed; `stderr` says how.
    """
    compiler = shlex.split(os.environ.get("CC") or "cc")
    sets = X86 if platform.machine().lower() in ("x86_64", "amd64") else PLAIN
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        jobs: list[tuple[Path, str, list[str]]] = [
            (Path(folder, f"{number}-{name}.o"), "kernels.c", [*flags, *type_flags, f"-DSUFFIX=_{number}_{name}"])
            for number, type_flags in TYPES.items()
            for name, flags in sets.items()
        ]
        jobs.append((Path(folder, "processor.o"), "processor.c", []))
        for target, file, flags in jobs:
            _run([*compiler, *FLAGS, *flags, "-c", str(source / file), "-o", str(target)])
        # The OpenMP functions are those of the runtime that PyTorch loads; without it they are absent.
        undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
        objects = [str(target) for target, _, _ in jobs]
        made = Path(folder, library.name)
        _run([*compiler, "-shared", *undefined, *objects, "-o", str(made)])
        made.replace(library)  # whole or not at all; a process that has loaded the old one keeps it


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


if __name__ == "__main__":
    here = Path(__file__).parent
    compile_kernels(here / SOURCE, here / LIBRARY)
