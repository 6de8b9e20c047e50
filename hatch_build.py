"""Compiles the CPU kernels while the package is built: `pip install` takes them along where there is a C compiler.

Without one the package is built without them, and lsseq computes those recurrences with PyTorch's operations.
"""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "lsseq/nn/kernels/cpu"


class KernelHook(BuildHookInterface[Any]):
    """Adds the compiled library to a wheel, or to the source tree of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        del version
        if self.target_name != "wheel":
            return
        # The package itself cannot be imported yet.
        spec = importlib.util.spec_from_file_location("build_kernels", Path(self.root, FOLDER, "build.py"))
        assert spec is not None
        assert spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        try:
            build.compile_kernels()
        except build.BuildError as error:
            self.app.display_warning(f"lsseq is installed without its CPU kernels: {error}")
            return
        build_data["artifacts"].append(f"{FOLDER}/{build.LIBRARY.name}")
        build_data["pure_python"] = False
        # The library is loaded by ctypes: it is tied to the system, and not to a version of Python.
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{system}"
