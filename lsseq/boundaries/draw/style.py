"""The style sheet of the page, beside that of all pages."""

STYLE = """
:root { --cell: #eeeeea; --gold: #55555c; --faint: #8a8a90;
  --l1: #9fdcf0; --l2: #ffd479; --l3: #f3a6c8; --l4: #a9e2a0; }
@media (prefers-color-scheme: dark) {
  :root { --cell: #24242a; --gold: #b5b5bd; --faint: #808088;
    --l1: #145a73; --l2: #7a5200; --l3: #7d2550; --l4: #205c19; } }
tr.layer > * { font-weight: bold; }
.note span { padding: .05rem .35rem; border-radius: .2rem; }
.text { font: 15px/1.7 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.raster { display: flex; flex-wrap: wrap; row-gap: .7rem; font: 13px/1.4 ui-monospace, monospace; }
.raster > span { display: flex; flex-direction: column; min-width: 1ch; }
.raster b { font-weight: normal; white-space: pre; text-align: center; }
.raster i { height: .75rem; background: var(--cell); border-bottom: 1px solid var(--paper); }
.raster .key { padding-right: .6rem; }
.raster .key i { background: none; font: 10px/.75rem system-ui, sans-serif; text-align: right; }
.x { color: var(--faint); }
[data-t]:hover { outline: 1px solid var(--ink); }
[data-t]:hover::after { content: attr(data-t); position: fixed; z-index: 1; left: 0; right: 0; bottom: 0;
  padding: .4rem 1rem; border-top: 1px solid var(--line); color: var(--ink); background: var(--paper);
  font: 14px/1.5 ui-monospace, monospace; white-space: pre-wrap; text-align: center; }
.l1 { background: var(--l1); } .l2 { background: var(--l2); }
.l3 { background: var(--l3); } .l4 { background: var(--l4); }
.raster .m1 { background: var(--m1); } .raster .m2 { background: var(--m2); }
.raster .m3 { background: var(--m3); } .raster .m4 { background: var(--m4); }
.raster .g { background: var(--gold); }
polyline.c1 { stroke: var(--m1); } polyline.c2 { stroke: var(--m2); }
polyline.c3 { stroke: var(--m3); } polyline.c4 { stroke: var(--m4); }
svg text.c1 { fill: var(--m1); } svg text.c2 { fill: var(--m2); }
svg text.c3 { fill: var(--m3); } svg text.c4 { fill: var(--m4); }
"""
