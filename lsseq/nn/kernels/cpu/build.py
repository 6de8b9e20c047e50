"""Compiling the CPU kernels: done when lsseq is installed, or by hand by running this file.

The installation runs this file before anything is installed: it imports nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("src")
LIBRARY = Path(__file__).with_name("kernels.so")

# Not -ffast-math: linking with it makes the process flush denormal numbers, and it may drop checks for NaN.
_FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-fvisibility=hidden"]

_SOURCES = ["sequence", "rhn", "mogrifier", "fast_slow", "hm", "gemm"]
"""Each is compiled for every type and instruction set."""

_TYPES = {"float32": [], "float64": ["-DDOUBLE"]}

# Instruction sets, each with its flags; the library takes the best that the processor has (src/processor.c).
_PLAIN = {"plain": ["-DVECTOR_BYTES=16"]}
_X86 = {
    **_PLAIN,
    "avx2": ["-DVECTOR_BYTES=32", "-mavx2", "-mfma"],
    "avx512": ["-DVECTOR_BYTES=64", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"],
}


class BuildError(Exception):
    """The kernels cannot be compiled: there is no compiler, or it failed."""


def digest() -> str:
    """What the sources are, so that a library made from others is told apart."""
    found = hashlib.sha256()
    for file in sorted(SOURCE.iterdir()):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


def compile_kernels() -> None:
    """Compile the kernels for every type and instruction set into one library beside this file.

    The compiler is `$CC`, by default `cc`.

    Raises:
        BuildError: it is absent or failed.
    """
    compiler = shlex.split(os.environ.get("CC") or "cc")
    sets = _X86 if platform.machine().lower() in ("x86_64", "amd64") else _PLAIN
    with tempfile.TemporaryDirectory(dir=LIBRARY.parent) as folder:
        jobs = [("processor.c", "processor.o", [f'-DDIGEST="{digest()}"'])]
        for number, type_flags in _TYPES.items():
            for name, set_flags in sets.items():
                suffix = f"{number}_{name}"
                flags = [*type_flags, *set_flags, f"-DSUFFIX=_{suffix}"]
                jobs += [(f"{source}.c", f"{source}_{suffix}.o", flags) for source in _SOURCES]
        objects = []
        for source, target, flags in jobs:
            objects.append(str(Path(folder, target)))
            _run([*compiler, *_FLAGS, *flags, "-c", str(SOURCE / source), "-o", objects[-1]])
        # The OpenMP functions are those of the runtime that PyTorch loads; without it they are absent.
        undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
        made = Path(folder, LIBRARY.name)
        _run([*compiler, "-shared", *undefined, *objects, "-o", str(made)])
        made.replace(LIBRARY)  # whole or not at all; a process that has loaded the old one keeps it


def _run(command: list[str]) -> None:
    try:
        result = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"no C compiler: {error}") from error
    if result.returncode != 0:
        raise BuildError(f"{shlex.join(command)} failed:\n{result.stderr.strip()}")


if __name__ == "__main__":
    try:
        compile_kernels()
    except BuildError as build_error:
        sys.exit(f"error: {build_error}")
    print(LIBRARY)
