"""How Sphinx builds these pages: `sphinx-build -W docs site`, in an environment with `pip install -e '.[docs]'`.

Pages are Markdown, which reads as well without being built; `api/` is made of the docstrings.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from sphinx.ext.napoleon import Config, GoogleDocstring

import lsseq

project = "lsseq"
author = "The lsseq developers"
project_copyright = "The lsseq developers"
version = release = lsseq.__version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "lsseq"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["tables.css"]

# A name in single back quotes is code, in docstrings as in the pages.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True


def read_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Sections as Google writes them, and equations set by indentation alone, as in Markdown.

    Those of attributes are plain text: what stands before a colon there is no type.
    """
    del app
    plain, before = list(lines), " "
    lines.clear()
    for gap, line in pairwise(["", *plain]):
        if not gap.strip() and line.startswith("    ") and not before.startswith(" "):
            lines.extend(["::", ""])
        lines.append(line)
        before = line if line.strip() else before
    if what not in ("attribute", "property"):
        lines[:] = GoogleDocstring(lines, Config(), None, what, name, obj, options).lines()


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", read_docstring)
