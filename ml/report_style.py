"""The style sheet of the evaluation's report."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --paper: light-dark(#fbfaf7, #16181b); --surface: light-dark(#fff, #1e2125);
  --ink: light-dark(#1d2024, #e9e7e2); --muted: light-dark(#595f66, #a4a9b0); --line: light-dark(#dcd8d0, #363b41);
  --source: light-dark(#23688f, #74b8dd); --result: light-dark(#b4521c, #f0935a); --bar: light-dark(#e2a37f, #8d4f2b);
  --natural: light-dark(#23713c, #76c58e); --unconverted: light-dark(#23688f, #74b8dd);
  --first: light-dark(#6d6a64, #b3aea4); --target: light-dark(#8b2f74, #dd8fca); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 28px; margin: 0 0 12px; } h2 { font-size: 20px; margin: 40px 0 10px; }
h3 { font-size: 16px; margin: 0 0 4px; overflow-wrap: anywhere; }
dl { margin: 0; } dd { margin: 0; overflow-wrap: anywhere; } dt { color: var(--muted); }
.facts { display: grid; gap: 2px 24px; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr));
  font-size: 13px; }
.facts div { display: grid; grid-template-columns: 120px 1fr; gap: 8px; }
.meanings dt { color: var(--ink); font-weight: 600; margin-top: 8px; }
.note, figcaption span { color: var(--muted); font-size: 13px; margin: 4px 0; overflow-wrap: anywhere; }
.notice { border: 1px solid var(--result); border-radius: 6px; padding: 0 16px 4px; margin-top: 24px; }
.notice h2 { margin-top: 12px; } .notice li { overflow-wrap: anywhere; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; background: var(--surface); }
.wide:focus-visible, summary:focus-visible { outline: 2px solid var(--source); outline-offset: 2px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { color: var(--muted); font-weight: 500; vertical-align: bottom; min-width: 76px; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--surface); max-width: 44vw;
  min-width: 110px; overflow-wrap: anywhere; }
tbody tr:last-child > * { border-bottom: 0; }
td small { display: block; color: var(--muted); font-size: 11px; white-space: nowrap; }
figure { margin: 0; min-width: 0; }
.plots { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
.plots > figure, article { background: var(--surface); border: 1px solid var(--line); border-radius: 6px;
  padding: 12px 14px; }
article { margin-top: 16px; }
.strips { margin-top: 8px; }
.strip { display: grid; grid-template-columns: minmax(0, 34%) minmax(0, 1fr) 48px; gap: 10px; align-items: center;
  font-size: 13px; font-variant-numeric: tabular-nums; }
.strip > span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.strip > span:last-child { text-align: right; }
.strip svg { display: block; width: 100%; overflow: visible; }
.scale { display: flex; justify-content: space-between; color: var(--muted); font-size: 11px;
  border-top: 1px solid var(--line); }
.bar { fill: var(--bar); } .mean { stroke: var(--result); stroke-width: 2; } .point { fill: var(--result);
  fill-opacity: .45; }
.whisker { stroke: var(--ink); stroke-width: 1.5; }
.reference { stroke-width: 1.5; } .natural { stroke: var(--natural); }
.unconverted { stroke: var(--unconverted); stroke-dasharray: 2 3; }
.first { stroke: var(--first); stroke-dasharray: 5 3; } .target { stroke: var(--target); stroke-dasharray: 9 3; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 8px 0 0; padding: 0; list-style: none;
  font-size: 12px; color: var(--muted); }
.legend svg { vertical-align: -2px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; margin: 8px 0; }
.pair img { display: block; width: 100%; height: 160px; image-rendering: auto; border-radius: 4px; }
.pair figcaption { font-size: 12px; color: var(--muted); }
.contours { position: relative; height: 150px; border: 1px solid var(--line); border-radius: 4px; margin-top: 4px; }
.contours svg { width: 100%; height: 100%; display: block; }
.contours span, .contours b { position: absolute; left: 4px; font-size: 11px; font-weight: 400; color: var(--muted);
  transform: translateY(-100%); }
.contours b { left: auto; right: 4px; bottom: 2px; transform: none; }
.contour { fill: none; stroke-width: 1.6; } .grid { stroke: var(--line); }
path.of-source { stroke: var(--source); } path.of-result { stroke: var(--result); }
li.of-source::before, li.of-result::before { content: ""; display: inline-block; width: 18px; height: 3px;
  vertical-align: 3px; margin-right: 6px; background: var(--source); }
li.of-result::before { background: var(--result); }
figcaption { font-size: 13px; } figcaption .legend { display: inline-flex; margin: 0 0 0 12px; }
summary { cursor: pointer; padding: 6px 0; font-weight: 600; } section details { margin-top: 32px; }
@media (max-width: 600px) { .pair { grid-template-columns: 1fr; } .pair img { height: 130px; }
  .facts div { grid-template-columns: 96px 1fr; } }
@media print { .wide { overflow: visible; } article, .plots > figure { break-inside: avoid; } }
"""
