"""The pages in docs/: their commands and their Python run as they stand, trainings cut short, and print what the pages
say; their links lead somewhere; and the site builds without a warning and needs no network."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from tiny_run import cli_in_process

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {str(page.relative_to(DOCS)): page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}
LINKS = [(name, link) for name, page in PAGES.items() for link in re.findall(r"\]\(([^)#:]+)[)#]", page)]
BLOCK = re.compile(r"^```(?P<language>sh|python|text)\n(?P<content>.*?)^```", re.MULTILINE | re.DOTALL)
RUNNABLE = [name for name, page in PAGES.items() if BLOCK.search(page) and name != "extending.md"]
"""tests/test_extending.py follows extending.md in a copy of the package."""
SHORT = ("training.steps=3", "training.batch=4", "training.evaluate_every=3")
RUNS = ("quickstart", "first", "second", "third", "mine", "hm")
"""What pages speak of as trained, unless they train it themselves."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the quickstart, three steps old."""
    from lsseq.recipe import load_recipe
    from lsseq.training.session import train_recipe

    run = tmp_path_factory.mktemp("trained") / "quickstart"
    train_recipe(load_recipe("quickstart", [*SHORT, "model.hidden=72"]), run)
    return run


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_page_does_what_it_says(
    name: str,
    trained: Path,
    small_text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = PAGES[name]
    monkeypatch.chdir(tmp_path)
    for text in ("my-text.txt", "another-text.txt"):
        shutil.copy(small_text, text)
    trains = re.findall(r"^lsseq train .*--run runs/(\w+)", page, re.MULTILINE)
    own = {*trains, *(["quickstart"] if re.search(r"^lsseq train quickstart$", page, re.MULTILINE) else [])}
    for run in set(RUNS) - own:
        shutil.copytree(trained, tmp_path / "runs" / run)
    cli = cli_in_process(capsys)
    names: dict[str, object] = {}
    printed = ""
    torch.manual_seed(0)
    for block in BLOCK.finditer(page):
        language, content = block["language"], block["content"]
        if language == "sh":
            for line in content.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "lsseq"
                cut = SHORT if arguments[0] == "train" and "--dry-run" not in arguments else ()
                if "--tune" in arguments:
                    arguments[arguments.index("--tune") + 1] = "0.05"
                printed = cli(*arguments, *cut).stdout
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as said:
                exec(compile(content, name, "exec"), names)
            printed = said.getvalue()
        else:
            assert printed == content
    torch.set_num_threads(1)


@pytest.mark.parametrize(("page", "link"), sorted(set(LINKS)))
def test_links_lead_somewhere(page: str, link: str) -> None:
    assert (DOCS / page).parent.joinpath(link).exists()


class Fetches(HTMLParser):
    """Addresses that a browser loads by itself, and those that a reader may follow."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.followed: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if "id" in values:
            self.places.add(values["id"])
        if tag == "a" and "href" in values:
            self.followed.append(values["href"])
        elif "src" in values or (tag == "link" and "href" in values):
            self.loaded.append(values.get("src") or values["href"])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="needs the extra `docs`")
def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(site)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = {page.resolve(): Fetches(page) for page in site.rglob("*.html")}
    assert len(pages) > len(PAGES)
    for path, page in pages.items():
        for address in page.loaded:
            parts = urlsplit(address)
            assert parts.scheme + parts.netloc == "", f"{path}: {address}"
            assert not parts.path or (path.parent / unquote(parts.path)).exists(), f"{path}: {address}"
        for address in page.followed:
            parts = urlsplit(address)
            if parts.scheme + parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path}: {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].places, f"{path}: {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style
    shown = (site / "api" / "nn.html").read_text(encoding="utf-8")
    assert 'id="lsseq.nn.LSTM"' in shown
    assert 'id="lsseq.nn.StochasticDepth"' in shown
