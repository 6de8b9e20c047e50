"""The page in a real browser, where one is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser import BROWSER, show

from lsseq.boundaries import Chunk, score
from lsseq.boundaries.draw import Excerpt, page


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_the_page_and_runs_nothing_of_the_text(tmp_path: Path) -> None:
    text = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
    draw = np.random.default_rng(0)
    found = draw.random((len(text), 2)) < 0.3
    gold = {"words": draw.random(len(text)) < 0.3}
    report = score(Chunk(np.array([ord(letter) for letter in text]), found, gold=gold))
    path = tmp_path / "page.html"
    path.write_text(page(Excerpt(list(text), found), report.values, title="boundaries"), encoding="utf-8")
    shot = tmp_path / "page.png"
    result = show(path, shot)
    assert "CONSOLE" not in result.stderr
    assert "<title>boundaries</title>" in result.stdout
    assert "<img" not in result.stdout
    assert "<td>" in result.stdout
    assert shot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
