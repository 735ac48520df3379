"""Was sharing worth it: the measured answer for the shipped recipe, below the tabs."""

from __future__ import annotations

import gradio as gr

from mtl.training.verdict import SharingReport
from mtl.ui import plots, render


def create_sharing_panel(found: SharingReport) -> None:
    """A closed panel with verdicts and a figure; the figure is drawn when the panel is opened, at its full width."""
    title = "Was sharing worth it? One model against specialists, measured"
    with gr.Accordion(title, open=False, elem_id="sharing") as panel:
        gr.HTML(render.in_plain_words(found), elem_id="sharing-words")
        gr.HTML(render.verdicts(found), elem_id="sharing-verdicts")
        figure = gr.Plot(label="Test scores with their 95 % limits", elem_id="sharing-figure")
    panel.expand(lambda: plots.sharing(found), None, figure, api_name=False, queue=False)
