"""How a page looks: by day, by night and on paper, on a desk and on a telephone.

The four hues keep apart for people who confuse red and green; lines differ in their dashes as well.
"""

from __future__ import annotations

from transferd.page.markup import Markup

SHEET = Markup("""
:root { color-scheme: light dark;
  --paper: #fcfcfb; --card: #ffffff; --ink: #1d1d1b; --faint: #5f5e5a; --rule: #e3e2dd; --empty: #e9e8e3;
  --one: #2a6fc9; --two: #c4560f; --three: #11845b; --alarm: #c2255c; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #161615; --card: #1f1f1d; --ink: #ecebe6; --faint: #a5a49d; --rule: #373733; --empty: #34342f;
  --one: #5b9bea; --two: #ec8b4a; --three: #35b588; --alarm: #f0709a; } }
body { margin: 0 auto; padding: 1rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
article + article { border-top: 2px solid var(--rule); margin-top: 3rem; }
h1 { font-size: 1.5rem; margin: 1rem 0 0; }
h2, figcaption { font-size: 1rem; font-weight: 600; margin: 0; }
p { margin: .4rem 0; }
code { font-size: .85rem; color: var(--faint); }
strong { padding: .1rem .6rem; border-radius: 1rem; border: 2px solid; margin-right: .3rem;
  white-space: nowrap; }
.proven { color: var(--three); }
.not-proven { color: var(--alarm); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: .6rem 1rem;
  margin: 1rem 0; }
dt { font-size: .8rem; color: var(--faint); }
dd { margin: 0; font-size: 1.1rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.warnings { border-left: 4px solid var(--alarm); padding-left: 1rem; margin: 1rem 0; }
.warnings ul { margin: .3rem 0; padding-left: 1.2rem; }
.drawings { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem;
  margin: 1.5rem 0; align-items: start; }
figure { margin: 0; padding: .8rem; background: var(--card); border: 1px solid var(--rule);
  border-radius: .5rem; break-inside: avoid; }
svg { display: block; width: 100%; height: auto; margin-top: .6rem; }
svg text { font: 11px system-ui, sans-serif; fill: var(--faint); font-variant-numeric: tabular-nums; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.rule { stroke: var(--rule); }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line.read, .line.level { stroke: var(--one); }
.line.written { stroke: var(--two); stroke-dasharray: 7 3; }
.line.verified { stroke: var(--three); stroke-dasharray: 2 2.5; }
.event { fill: var(--alarm); }
.bar { fill: var(--one); fill-opacity: .35; }
.tip { fill: var(--one); }
.cell.data { fill: var(--one); }
.cell.resumed { fill: var(--three); }
.cell.healed { fill: var(--alarm); }
.cell.zero { fill: var(--empty); }
.shade1 { fill-opacity: .4; }
.shade2 { fill-opacity: .6; }
.shade3 { fill-opacity: .8; }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1rem; list-style: none; margin: .2rem 0 0; padding: 0;
  font-size: .8rem; color: var(--faint); }
.swatch { display: inline-block; width: 1.5em; margin-right: .4em; vertical-align: middle; height: 0;
  border-top: 3px solid; }
.swatch.read { color: var(--one); }
.swatch.written { color: var(--two); border-top-style: dashed; }
.swatch.verified { color: var(--three); border-top-style: dotted; }
.swatch.data, .swatch.zero, .swatch.resumed, .swatch.healed { width: .8em; height: .8em; border: 0; }
.swatch.data { background: var(--one); }
.swatch.zero { background: var(--empty); }
.swatch.resumed { background: var(--three); }
.swatch.healed { background: var(--alarm); }
@media print { body { max-width: none; padding: 0; }
  .cell, .swatch, figure { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
""")
