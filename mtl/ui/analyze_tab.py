"""One text: the labels of every classification task and the entities, from one pass."""

from __future__ import annotations

import gradio as gr

from mtl.service.service import BASE
from mtl.ui import render
from mtl.ui.context import Context, spoken

TEXT = (
    "Siemens has doubled its profits, Maria Keller said in Berlin on Tuesday, and she thanked the staff for a "
    "wonderful year."
)
EXAMPLES = (
    TEXT,
    "The Ghent jazz festival was a joy from the first note, even in the rain.",
    "Nurses at St. Agnes Hospital in Leeds warned that the flu season has left them without a single free bed.",
    "honestly the worst phone i ever bought, the battery dies before lunch",
    "U.S. senators left for Geneva on Monday; talks with the W.H.O. begin at 9 a.m.",
)


def create_analyze_tab(context: Context) -> None:
    """Fills the tab that is open; its example is answered when the page is built."""
    service = context.service

    @spoken
    def analyze(key: str, model: str, text: str, threshold: float) -> tuple[str, str]:
        tasks = service.predictor(key, model).tasks
        found = service.analyze(key, model, text)
        return render.label_bars(found, tasks), render.entities(text, found, tasks, threshold=threshold)

    text = gr.Textbox(TEXT, label="Text", lines=3, elem_id="analyze-text")
    with gr.Row():
        threshold = gr.Slider(0, 1, value=0.5, step=0.05, label="Least confidence of an entity", elem_id="threshold")
        button = gr.Button("Analyze", variant="primary", elem_id="analyze-go")
    bars, marked = analyze("", BASE, TEXT, 0.5)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=340):
            entities = gr.HTML(marked, elem_id="analyze-entities")
        with gr.Column(min_width=340):
            labels = gr.HTML(bars, elem_id="analyze-labels")
    gr.Examples([[example] for example in EXAMPLES], text, label="Try one of these")

    inputs, outputs = [context.session, context.model, text, threshold], [labels, entities]
    button.click(analyze, inputs, outputs, api_name="analyze")
    for trigger in (text.submit, threshold.release, context.model.input):
        trigger(analyze, inputs, outputs, api_name=False)
