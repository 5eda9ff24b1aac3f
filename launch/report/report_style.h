#pragma once

namespace kiln {

/// The style sheet of report.html: light and dark, no fonts or files from elsewhere.
inline constexpr const char* kReportStyle = R"css(
:root { --ink:#1c2430; --soft:#667085; --paper:#f6f7f9; --card:#fff; --edge:#e4e7ec; --grid:#edf0f3;
  --a:#d9541e; --b:#2f6fed; --c:#12a150; --d:#a855f7; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e9ee; --soft:#98a2b3; --paper:#12151a;
  --card:#1a1f27; --edge:#2a313c; --grid:#262d37; --a:#ff7a45; --b:#6ea0ff; --c:#3ddc84; --d:#c58bff; } }
* { box-sizing:border-box }
body { margin:0; background:var(--paper); color:var(--ink); line-height:1.5;
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif }
main { max-width:1160px; margin:0 auto; padding:40px 24px 64px }
header { border-left:5px solid var(--a); padding-left:18px; margin-bottom:28px }
h1 { margin:0; font-size:30px; letter-spacing:-.02em }
header p { margin:2px 0 0; color:var(--soft) }
h2 { font-size:18px; margin:40px 0 14px; letter-spacing:-.01em }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px }
.tile, .chart, .card { background:var(--card); border:1px solid var(--edge); border-radius:12px }
.tile { padding:14px 16px }
.tile b { display:block; font-size:22px; font-weight:650; font-variant-numeric:tabular-nums }
.tile span { color:var(--soft); font-size:13px }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr)); gap:14px }
.chart { margin:0; padding:14px 14px 6px }
.chart figcaption { display:flex; justify-content:space-between; font-weight:600; padding:0 4px 6px }
.chart figcaption b { color:var(--a); font-variant-numeric:tabular-nums }
svg { width:100%; height:auto; display:block }
svg text { fill:var(--soft); font-size:11px; font-variant-numeric:tabular-nums }
.grid { stroke:var(--grid); stroke-width:1 }
.raw { fill:none; stroke:var(--a); stroke-width:1; opacity:.28 }
.line { fill:none; stroke:var(--a); stroke-width:2; stroke-linejoin:round }
.dot { fill:var(--a) }
.card { padding:18px }
.bar { display:flex; height:26px; border-radius:7px; overflow:hidden; background:var(--grid) }
.legend { list-style:none; display:flex; flex-wrap:wrap; gap:6px 26px; margin:12px 0 0; padding:0 }
.legend i { display:inline-block; width:11px; height:11px; border-radius:3px; margin-right:8px }
.legend span { color:var(--soft) }
.part0 { background:var(--a) } .part1 { background:var(--b) } .part2 { background:var(--c) }
.part3 { background:var(--d) }
.pictures { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr)); gap:14px }
.pictures figure { margin:0 } .pictures .wide { grid-column:1/-1 }
.pictures img { width:100%; border-radius:8px; image-rendering:pixelated; display:block }
.pictures figcaption { color:var(--soft); font-size:13px; margin-top:6px }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
th, td { text-align:left; padding:8px 12px; border-bottom:1px solid var(--edge) }
tr:last-child td { border-bottom:0 } th { color:var(--soft); font-weight:600; font-size:13px }
td.number, th.number { text-align:right }
pre { overflow:auto; font:13px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; margin:12px 0 0 }
summary { cursor:pointer; font-weight:600 }
footer { color:var(--soft); font-size:13px; margin-top:40px }
)css";

}  // namespace kiln
