"""The frame of a self-contained HTML page, for light and dark screens: nothing is fetched, and no script is run."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fdfdfb; --line: #dcdcd7;
  --m1: #1b84aa; --m2: #b37500; --m3: #c13a7c; --m4: #35872a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --paper: #16161a; --line: #3a3a42;
    --m1: #4cb8de; --m2: #e0a030; --m3: #e06aa5; --m4: #62bd56; } }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 1.5rem auto 4rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p { margin: .4rem 0; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; font-weight: normal; }
th { white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; }
.note { font-size: .9rem; }
svg { width: 100%; max-width: 640px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg path { stroke: var(--line); }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
"""
"""Of every page. The colours `--m1` to `--m4` stand out on either ground."""


def document(title: str, style: str, parts: Iterable[str]) -> str:
    """The page as text.

    Args:
        title: plain text; it is escaped here.
        style: rules that are added to `STYLE`.
        parts: HTML, in which text is escaped already.
    """
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>",
            *parts,
            "</main>\n</body>\n</html>\n",
        ]
    )
