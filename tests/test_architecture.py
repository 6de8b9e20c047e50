"""The packages depend on each other in one direction only, and light commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from processor_time import times_over

import lsseq

PACKAGE = Path(lsseq.__file__).parent

# From the bottom up: a part may import those before it, and no other.
LAYERS = [
    "errors",
    "json_text",
    "resources",
    "webpage",
    "recipe",
    "processes",
    "data",
    "nn",
    "measure",
    "model",
    "runs",
    "evaluation",
    "boundaries",
    "generation",
    "training",
    "api",
    "compression",
    "comparison",
    "export",
    "sweep",
    "cli",
]


def imports_of(file: Path) -> set[str]:
    """The parts of lsseq that a file imports at run time."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("lsseq.")}


def files_of(part: str) -> list[Path]:
    folder = PACKAGE / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{part}.py"]


def test_every_part_has_its_place_in_the_order() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} == set(LAYERS)


@pytest.mark.parametrize("part", LAYERS)
def test_imports_go_one_way(part: str) -> None:
    below = set(LAYERS[: LAYERS.index(part) + 1])
    if part == "nn":  # usable alone, as torch.nn is
        below = {"nn"}
    for file in files_of(part):
        above = imports_of(file) - below - {"__version__"}
        assert not above, f"{file.relative_to(PACKAGE)} imports {sorted(above)}"


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return set(out.split())


def test_recipes_do_not_import_torch() -> None:
    code = "from lsseq.recipe import load_recipe\nload_recipe('quickstart')"
    assert "torch" not in modules_after(code)


def test_help_imports_neither_torch_nor_the_recipe_library() -> None:
    code = "from lsseq.cli import group\ngroup.main(['--help'], standalone_mode=False)"
    assert not modules_after(code) & {"torch", "numpy", "pydantic", "ruamel"}


@pytest.mark.parametrize(("arguments", "limit"), [(["--help"], 0.5), (["recipes", "list"], 2.0)])
def test_light_commands_answer_quickly(arguments: list[str], limit: float) -> None:
    yardstick = ["-c", "for i in range(5_000_000): str(i)"]
    assert times_over(["-m", "lsseq", *arguments], yardstick) < limit
