"""The Python of the pages in docs/ that stand alone prints what they say, and their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))}
EXAMPLE = re.compile(r"^```python\n(?P<code>.*?)^```\n+```text\n(?P<printed>.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = [(name, *found.groups()) for name, page in PAGES.items() for found in EXAMPLE.finditer(page)]
LINKS = [(name, link) for name, page in PAGES.items() for link in re.findall(r"\]\(([^)#:]+)\)", page)]


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize(("page", "code", "printed"), EXAMPLES, ids=[name for name, *_ in EXAMPLES])
def test_example_prints_what_the_page_says(page: str, code: str, printed: str) -> None:
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == printed


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_links_lead_somewhere(page: str, link: str) -> None:
    assert (DOCS / link).exists()
