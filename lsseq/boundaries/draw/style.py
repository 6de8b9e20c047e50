"""The style sheet of the page, for light and dark screens."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fdfdfb; --line: #d5d5d0; --norm: #8a2be2;
  --l1: #9fdcf0; --l2: #ffd479; --l3: #f3a6c8; --l4: #a9e2a0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ea; --paper: #16161a; --line: #3a3a42; --norm: #c9a2ff;
    --l1: #145a73; --l2: #7a5200; --l3: #7d2550; --l4: #205c19; } }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; font-weight: normal; }
th:first-child { text-align: left; }
.legend { font-size: .9rem; }
.legend span { padding: 0 .3rem; }
.text { font: 15px/1.7 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.raster { display: flex; flex-wrap: wrap; row-gap: .8rem; font: 13px/1.4 ui-monospace, monospace; }
.raster span { display: flex; flex-direction: column; align-items: stretch; min-width: 1ch; }
.raster b { font-weight: normal; white-space: pre; text-align: center; }
.raster i { height: .6rem; background: var(--line); border-bottom: 1px solid var(--paper); }
.l1 { background: var(--l1); }
.raster .l1 { background: #2a9fc9; }
.l2 { background: var(--l2); }
.raster .l2 { background: #d18f00; }
.l3 { background: var(--l3); }
.raster .l3 { background: #d0488a; }
.l4 { background: var(--l4); }
.raster .l4 { background: #4aa83e; }
.raster i.n { background: var(--norm); }
svg { width: 100%; max-width: 640px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg path { stroke: var(--line); }
polyline { fill: none; stroke-width: 2; }
.c1 { stroke: #2a9fc9; }
.c2 { stroke: #d18f00; }
.c3 { stroke: #d0488a; }
.c4 { stroke: #4aa83e; }
"""
