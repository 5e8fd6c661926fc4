"""The looks of an evaluation's page: one style sheet, light and dark."""

STYLE = """
:root{color-scheme:light dark;--ink:#1c2126;--soft:#5b6670;--paper:#fff;--card:#f4f6f8;--line:#d9dfe4;--model:#1f6fb5;
--other:#c05a12;--positive:#c05a12;--negative:#4b7f9e;--bad:#a3271d;--bad-paper:#fdecea;--warn-paper:#fff5dc}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaee;--soft:#9aa6b1;--paper:#15191d;--card:#1f252b;--line:#38424b;
--model:#6fb4f0;--other:#f0a25e;--positive:#f0a25e;--negative:#7fb4d2;--bad:#ff9a90;--bad-paper:#3a1d1b;
--warn-paper:#35301c}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;line-height:1.25;margin:0 0 14px}h2{font-size:19px;margin:36px 0 10px;padding-top:14px;
border-top:1px solid var(--line)}h3{font-size:15px;margin:20px 0 6px}
.banner{margin:10px 0;padding:10px 14px;border-left:4px solid var(--other);background:var(--warn-paper);
border-radius:4px}
.banner.bad{border-color:var(--bad);background:var(--bad-paper)}.banner ul{margin:4px 0 0;padding-left:20px}
.cards{display:flex;gap:12px;flex-wrap:wrap;margin:16px 0}
.cards div{background:var(--card);border-radius:8px;padding:10px 18px;min-width:130px}
.cards span,.cards small{display:block;color:var(--soft);font-size:13px}.cards b{font-size:28px;font-weight:600}
.scroll{overflow-x:auto;margin:8px 0 14px}table{border-collapse:collapse;
font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 14px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:18px}
figure{margin:0;background:var(--card);border-radius:8px;padding:10px 12px}figcaption{font-weight:600}
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:15px}.grid{stroke:var(--line)}
.line{fill:none;stroke-width:2}.line.model{stroke:var(--model)}.line.other{stroke:var(--other)}
.line.guide{stroke:var(--soft);stroke-dasharray:5 4;stroke-width:1.3}.line.positive{stroke:var(--positive)}
.line.negative{stroke:var(--negative)}.area{fill-opacity:.22}.area.positive{fill:var(--positive)}
.area.negative{fill:var(--negative)}.dot.model{fill:var(--model)}.dot.other{fill:var(--other)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:4px 0 0;font-size:13px;color:var(--soft)}
.key{display:inline-block;width:14px;height:4px;margin-right:6px;vertical-align:middle;border-radius:2px}
.key.round{width:9px;height:9px;border-radius:50%}.key.model{background:var(--model)}.key.other{background:var(--other)}
.key.guide{background:var(--soft)}.key.positive{background:var(--positive)}.key.negative{background:var(--negative)}
.legend .key[style]{width:12px;height:12px}
.cases{display:grid;gap:14px}.cases.chip{grid-template-columns:repeat(auto-fill,minmax(150px,1fr))}
.case p{margin:0 0 4px;font-size:13px;overflow-wrap:anywhere}.case>div{display:flex;gap:8px;flex-wrap:wrap}
.case span{display:block}.case img{display:block;max-width:100%;border-radius:3px;image-rendering:pixelated}
.case small{color:var(--soft);font-size:12px}
.cases.pixel .case>div{display:grid;grid-template-columns:repeat(4,minmax(0,1fr))}
"""
