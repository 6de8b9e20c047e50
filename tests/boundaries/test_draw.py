"""Boundaries drawn: text in the terminal, the page as a browser reads it, figures that open."""

from __future__ import annotations

import io
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lsseq.boundaries import Chunk, Report, score
from lsseq.boundaries.draw import Excerpt, Rates, page, print_excerpt, save_figure
from lsseq.errors import RequestError

HOSTILE = "<script>alert(1)</script> & \"q\" 'a'\t\x1b[31m\u202e$x^2$\n日本 e\u0301"


def marks(rows: str) -> np.ndarray:
    return np.array([[mark == "|" for mark in row] for row in rows.split()]).T


def hostile() -> tuple[Excerpt, Report]:
    T = len(HOSTILE)
    draw = np.random.default_rng(0)
    probability = draw.random((T, 2))
    found, surprisal = probability > 0.5, draw.random(T) * 5
    excerpt = Excerpt(
        list(HOSTILE), found, probability, surprisal, draw.random((T, 3)), np.array([c == "\n" for c in HOSTILE])
    )
    gold = {"<b>words": draw.random(T) < 0.3}
    symbols = np.array([ord(c) for c in HOSTILE])
    return excerpt, score(Chunk(symbols, found, probability, gold, surprisal=surprisal))


RATES = Rates([0, 100, 200], [[0.5, 0.1], [0.3, 0.2], [0.25, 0.0]])


def printed(excerpt: Excerpt, *, terminal: bool, width: int = 80) -> str:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=terminal, width=width, highlight=False, color_system="standard" if terminal else None
    )
    print_excerpt(excerpt, console)
    return file.getvalue()


def test_terminal_text_has_a_row_for_each_layer() -> None:
    excerpt = Excerpt(list("thecatsat"), marks("..|..|... .....|..."))
    assert printed(excerpt, terminal=False) == "thecatsat\n..|..|...  1\n.....|...  2\n\n"


def test_terminal_shows_gold_below_the_layers() -> None:
    excerpt = Excerpt(list("thecatsat"), marks("..|..|..."), gold={"words": marks("..|..|..|")[:, 0]})
    assert printed(excerpt, terminal=False) == "thecatsat\n..|..|...  1\n..|..|..|  words\n\n"


def test_terminal_lines_are_as_wide_as_the_terminal_and_end_where_lines_do() -> None:
    excerpt = Excerpt(list("thecatsat"), marks("..|..|..."), breaks=np.arange(9) == 6)
    assert printed(excerpt, terminal=False, width=8) == "theca\n..|..  1\n\nts\n|.  1\n\nat\n..  1\n\n"


def test_terminal_shows_control_characters_escaped_and_keeps_columns() -> None:
    excerpt = Excerpt(list("a\n日\x1bb\u0301"), marks("|||||."))
    assert printed(excerpt, terminal=False) == "a\\n日\\x1bb◌\u0301\n| | |   ||.  1\n\n"


def test_terminal_colours_the_highest_layer() -> None:
    text = printed(Excerpt(list("ab"), marks(".| .|")), terminal=True)
    assert "a\x1b[30;43mb\x1b[0m" in text.split("\n")[0]
    assert "\x1b[30;46m|\x1b[0m" in text.split("\n")[1]


def test_terminal_shows_a_text_without_detectors() -> None:
    assert printed(Excerpt(list("ab"), np.zeros((2, 0), np.bool_)), terminal=False) == "ab\n"


class Reader(HTMLParser):
    """The text and the tags of a page; void tags and those that HTML closes by itself are not matched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "th", "td", "path", "polyline"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"path", "polyline"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_page_shows_all_text_as_text_and_fetches_nothing() -> None:
    excerpt, report = hostile()
    text = page(excerpt, report.values, title="<script>t</script>", rates=RATES)
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "@import" not in text
    read = Reader(text)
    assert read.open == []
    tags = {tag for tag, _ in read.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "q", "b "}
    assert not {
        key for _, attributes in read.tags for key in attributes if key.startswith("on") or key in {"src", "href"}
    }
    shown = "".join(read.text)
    assert shown.replace("\n", "").count("<script>alert(1)</script> & \"q\" 'a'\\t\\x1b[31m\\u202e$x^2$\\n") == 2
    assert "<script>t</script>" in shown
    assert "<b>words" in shown
    assert "\x1b" not in text


def test_page_tells_of_each_symbol_on_hover_and_colours_its_level() -> None:
    excerpt = Excerpt(list("ab"), marks(".| .|"), np.array([[0.25, 0.0], [0.75, 1.0]]), np.log([2.0, 4.0]))
    read = Reader(page(excerpt, {"characters": 2, "layers": []}))
    spans = [attributes for tag, attributes in read.tags if tag == "span" and "data-t" in attributes]
    assert spans[0] == {"data-t": "a · p1 = 0.250 · p2 = 0.000 · 1.00 bits"}
    assert spans[1] == {"class": "l2", "data-t": "b · p1 = 0.750 · p2 = 1.000 · 2.00 bits"}
    # The first column names the rows.
    assert [attributes.get("class") for tag, attributes in read.tags if tag == "i"] == [
        *(None, None),
        *(None, None),
        *("m1", "m2"),
    ]


def test_page_shows_gold_beside_what_is_found() -> None:
    excerpt = Excerpt(list("ab"), marks(".|"), gold={"<i>words": np.array([True, False])})
    read = Reader(page(excerpt, {"characters": 2, "layers": []}))
    assert [attributes.get("class") for tag, attributes in read.tags if tag == "i"] == [
        None,
        None,
        None,
        "g",
        "m1",
        None,
    ]
    assert "<i>words" in read.text
    assert [attributes["data-t"] for tag, attributes in read.tags if "data-t" in attributes][:2] == [
        *("a · end of <i>words", "b"),
    ]


def test_page_says_what_is_not_there() -> None:
    shown = page(Excerpt([], np.zeros((0, 0), np.bool_)), {"characters": 2, "layers": []})
    assert "The model has no detectors. The text does not tell where its units end" in shown
    assert "<h2>" not in shown


def test_page_draws_norms_and_rates() -> None:
    excerpt = Excerpt(list("abc"), np.zeros((3, 0), np.bool_), norms=np.array([[1.0, 0.0], [4.0, 0.0], [2.0, 0.0]]))
    read = Reader(page(excerpt, {"characters": 2, "layers": []}, rates=Rates([10, 20], [[1.0], [0.5]])))
    cells = [(attributes.get("class"), attributes.get("style")) for tag, attributes in read.tags if tag == "i"]
    empty = (None, None)
    # From the least of a layer to its greatest; the second layer's are all the same.
    assert cells[2:] == [empty, empty, ("m1", None), empty, ("m1", "opacity:0.33"), empty]
    (curve,) = [attributes["points"] for tag, attributes in read.tags if tag == "polyline"]
    assert curve == "40.0,0.0 570.0,88.0"


def test_page_has_every_score() -> None:
    excerpt, report = hostile()
    shown = page(excerpt, report.values)
    one = report.values["layers"][0]["levels"]["<b>words"]
    at = one["offset"][str(one["best_offset"])]
    assert f"<td>{at['precision']:.3f}<td>{at['recall']:.3f}<td>{at['f1']:.3f}<td>{at['r_value']:.3f}" in shown
    assert f"<td>{one['token_f1']:.3f}<td>{one['type_f1']:.3f}<td>{one['average_precision']:.3f}</tr>" in shown
    for name in ("layer 1", "layer 2", *report.values["baselines"]):
        assert f"><th>{name}<td>" in shown


def test_figures_open(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install 'lsseq[plots]')")
    from matplotlib.image import imread

    excerpt, report = hostile()
    path = tmp_path / "all.png"
    save_figure(path, excerpt, report, rates=RATES)
    image = imread(path)
    assert image.shape[1] == 1800
    assert image.std() > 0.05
    first = path.read_bytes()
    save_figure(path, excerpt, report, rates=RATES)
    assert path.read_bytes() == first
    bare = Excerpt(list("ab"), np.zeros((2, 0), np.bool_))
    save_figure(path, bare, score(Chunk(np.arange(2), bare.found)))
    assert imread(path).shape[1] == 1800


def test_the_raster_is_coloured_where_a_detector_fires() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (pip install 'lsseq[plots]')")
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    from lsseq.boundaries.draw.figures import COLOURS, EMPTY, GREY, raster

    axes = Figure().subplots()
    gold = {"words": np.array([True, True, False])}
    raster(axes, Excerpt(list("abc"), marks("..| .|."), norms=np.array([[1.0], [2.0], [3.0]]), gold=gold), slice(1, 3))
    (image,) = axes.images
    empty, first, second, grey = (np.array(to_rgb(colour)) for colour in (EMPTY, *COLOURS[:2], GREY))
    expected = [[empty, first], [second, empty], [grey, empty], [(empty + first) / 2, first]]
    np.testing.assert_allclose(np.asarray(image.get_array()), expected, atol=1e-9)
    assert [text.get_text() for text in axes.texts] == ["b", "c"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["layer 1", "layer 2", "words", "|h1|"]


def test_without_matplotlib_the_error_says_what_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    absent: Any = None
    monkeypatch.setitem(sys.modules, "matplotlib.figure", absent)
    with pytest.raises(RequestError) as caught:
        save_figure(tmp_path / "x.png", *hostile())
    assert str(caught.value) == (
        "error: figures need matplotlib, which is not installed here\nhint: pip install 'lsseq[plots]' installs it"
    )
