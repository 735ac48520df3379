"""Colours and spacing of the page, in light and dark."""

from __future__ import annotations

import gradio as gr

TAG_COLOURS = ("#1d64b4", "#23764a", "#a0306e", "#8a5200", "#6b4bb8", "#0b6e7a", "#b02a37", "#556070")
"""One a label, in the order of a task's labels; white text on each reads at 4.5:1 or better."""

POINT_COLOURS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#d4a017", "#9c755f",
    "#ff9da7", "#7f7fd5", "#2f9e9e", "#8cb369",
)  # fmt: skip

CSS = """
.gradio-container {width: 100%}
.gradio-container > main, .gradio-container .main {width: 100%; max-width: 1180px; margin-inline: auto}
.mtl-head h1 {margin: 0}
.mtl-head p {margin: 2px 0 0; color: var(--body-text-color-subdued)}
.mtl-card {border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 14px 16px;
  color: var(--body-text-color); background: var(--background-fill-primary)}
.mtl-score {font-size: 2.2rem; font-weight: 650; font-variant-numeric: tabular-nums; line-height: 1.1}
.mtl-track {position: relative; height: 10px; border-radius: 5px; background: var(--border-color-primary);
  overflow: hidden}
.mtl-fill {position: absolute; inset: 0 auto 0 0; border-radius: 5px; background: #1d64b4}
.mtl-dim {color: var(--body-text-color-subdued); font-size: .88rem}
.mtl-task {margin: 0 0 14px}
.mtl-task h4 {margin: 0 0 6px; font-size: .95rem; color: var(--body-text-color)}
.mtl-bar {display: grid; grid-template-columns: minmax(150px, 32%) 1fr 3.4em; gap: 10px; align-items: center;
  margin: 4px 0; font-size: .92rem}
.mtl-bar b, .mtl-bar span {overflow-wrap: anywhere; font-variant-numeric: tabular-nums}
.mtl-text {line-height: 2.1; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 1.02rem}
.mtl-text mark {color: var(--body-text-color); padding: 3px 4px; border-radius: 6px;
  background: color-mix(in srgb, var(--tag) 24%, transparent)}
.mtl-text mark i {font-style: normal; font-size: .72rem; font-weight: 600; color: #fff; background: var(--tag);
  border-radius: 4px; padding: 2px 5px; margin-left: 5px; white-space: nowrap}
.mtl-cut {color: var(--body-text-color-subdued)}
.mtl-warn {border-left: 4px solid #b8860b; padding: 6px 10px; margin: 0 0 10px; font-size: .92rem;
  color: var(--body-text-color); background: color-mix(in srgb, #b8860b 14%, transparent); border-radius: 4px}
.mtl-hits {list-style: none; margin: 0; padding: 0}
.mtl-hits li {display: grid; grid-template-columns: 3.2em 1fr; gap: 12px; padding: 7px 0;
  border-bottom: 1px solid var(--border-color-primary); overflow-wrap: anywhere}
.mtl-hits li:last-child {border-bottom: 0}
.mtl-flips li {grid-template-columns: 6.5em 1fr}
.mtl-hits b {font-variant-numeric: tabular-nums}
.mtl-table {width: 100%; border-collapse: collapse; font-size: .92rem; color: var(--body-text-color)}
.mtl-table th, .mtl-table td {text-align: left; padding: 5px 8px; border-bottom: 1px solid var(--border-color-primary)}
.mtl-table td.num, .mtl-table th.num {text-align: right; font-variant-numeric: tabular-nums}
.mtl-table th i {display: block; font-style: normal; font-weight: 400; font-size: .78rem;
  color: var(--body-text-color-subdued)}
.mtl-code textarea {font-family: var(--font-mono); font-size: .85rem}
.mtl-raw td {vertical-align: top; min-width: 5em}
.mtl-wide {min-width: 90px}
.mtl-lost {color: var(--error-text-color, #b02a37)}
.mtl-labels {margin-top: 6px; font-size: .9rem}
.mtl-labels summary {cursor: pointer; color: var(--body-text-color-subdued)}
.mtl-scroll {overflow-x: auto}
.mtl-two {display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 12px; margin-block: 12px}
.mtl-two > * {min-width: 0}
.mtl-side {margin: 0 0 6px; color: var(--body-text-color)}
.mtl-differences {margin: 0 0 6px; padding-left: 18px; color: var(--body-text-color)}
.mtl-tokens {display: flex; flex-wrap: wrap; gap: 6px}
.mtl-token, .mtl-why {color: var(--body-text-color); border-radius: 6px; overflow-wrap: anywhere}
.mtl-token {padding: 3px 7px; border: 1px solid var(--border-color-primary);
  background: color-mix(in srgb, #1d64b4 var(--much), transparent)}
.mtl-token i {display: block; font-style: normal; font-size: .72rem; font-variant-numeric: tabular-nums}
.mtl-why {padding: 2px 3px; background: color-mix(in srgb, var(--why) var(--much), transparent)}
.mtl-net {display: flex; flex-direction: column; gap: 6px}
.mtl-heads {display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 6px}
.mtl-part {display: flex; justify-content: space-between; gap: 8px; flex-wrap: wrap; padding: 7px 10px;
  text-align: left; border: 1px solid var(--border-color-primary); border-radius: 6px; cursor: pointer;
  color: var(--body-text-color); font-size: .9rem}
.mtl-part.mtl-learns {background: color-mix(in srgb, #23764a 26%, transparent); border-color: #23764a}
.mtl-part.mtl-frozen {background: var(--background-fill-secondary)}
.mtl-part:focus-visible {outline: 2px solid #1d64b4; outline-offset: 1px}
.mtl-pool {text-align: center; font-size: .82rem; color: var(--body-text-color-subdued)}
.mtl-seen {margin: 0 0 10px; padding-bottom: 8px; border-bottom: 1px solid var(--border-color-primary)}
.mtl-token.mtl-ignored {border-style: dashed}
.mtl-token.mtl-tagged {background: color-mix(in srgb, #23764a 26%, transparent)}
.mtl-link {align-items: center}
#correct-spans .token, #correct-spans .token .text {color: var(--body-text-color) !important}
#correct-spans .token .label {color: #fff !important}
input.subdued {color: var(--body-text-color) !important}
.mtl-table td, .mtl-table th {border-inline: 0 !important}
.tab-container button.selected {color: var(--body-text-color) !important; font-weight: 650}
@media (max-width: 480px) {
  .mtl-bar {grid-template-columns: 124px 1fr 3.2em; gap: 8px; font-size: .86rem}
  .mtl-table {font-size: .78rem}
  .mtl-table th, .mtl-table td {padding: 4px 3px !important}
  .tab-container button {padding-inline: 5px !important; font-size: .82rem !important}
}
"""


def theme() -> gr.themes.Base:
    """Monochrome: the built-in theme whose contrast holds in both modes; no font is fetched from outside."""
    fonts = ("ui-sans-serif", "system-ui", "sans-serif")
    return gr.themes.Monochrome(font=fonts, font_mono=("ui-monospace", "Consolas", "monospace"), radius_size="md")
