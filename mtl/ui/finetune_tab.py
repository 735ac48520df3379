"""A few rows, a choice of what may move, real training steps, and what they changed."""

from __future__ import annotations

import gradio as gr

from mtl.service.models import BASE
from mtl.ui import plots, render
from mtl.ui.context import Context, spoken
from mtl.ui.finetune_handlers import (
    CORRECTED,
    FIELDS,
    HEADS_ONLY,
    NOTHING,
    SAMPLE,
    TOP_LAYERS,
    UPLOAD,
    FinetuneHandlers,
    presets,
)

TICK_S = 1.0
PRESS = """
element.addEventListener("click", event => {
  const part = event.target.closest("[data-part]");
  if (part) trigger("click", {part: part.dataset.part});
});
"""


def create_finetune_tab(context: Context) -> None:
    """Fills the tab that is open; a page that is loaded again finds its run."""
    on = FinetuneHandlers(context.service)
    form: dict[str, gr.components.Component] = {}
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            _data(context, form)
        with gr.Column(min_width=320):
            _moves(context, form, on)
    values = [*context.who, *(form[name] for name in FIELDS)]
    _before(context, form, on, values)
    _run(context, form, on, values)


def _data(context: Context, form: dict[str, gr.components.Component]) -> None:
    """What to learn from, and which heads learn it."""
    tasks = context.service.models.base.tasks
    form["source"] = gr.Radio([SAMPLE, UPLOAD, CORRECTED], value=SAMPLE, label="Data", elem_id="tune-source")
    form["file"] = gr.File(
        label="CSV, TSV, JSONL, Parquet, CoNLL or marked text (also .gz)",
        visible=False,
        elem_id="tune-file",
        height=120,
    )
    form["text_column"] = gr.Dropdown([], label="Column with the text", visible=False, elem_id="tune-text")
    form["label_column"] = gr.Dropdown([], label="Column with the label", visible=False, elem_id="tune-label")
    for name, kind, start, what in (
        ("label_head", "classification", "request", "labels"),
        ("span_head", "ner", "things", "entities"),
    ):
        form[name] = gr.Dropdown(
            [task.name for task in tasks if task.kind == kind],
            value=start,
            label=f"Head that learns the {what}",
            info="An existing head, a new name, or blank for none",
            allow_custom_value=True,
            elem_id=f"tune-{name.replace('_', '-')}",
        )


def _moves(context: Context, form: dict[str, gr.components.Component], on: FinetuneHandlers) -> None:
    """What may move, for how long and how fast."""
    most = context.service.settings.max_steps
    heads = [t.name for t in context.service.models.base.tasks if t.n_texts == 1]
    form["moves"] = gr.Radio(presets(), value=HEADS_ONLY, label="What may move", elem_id="tune-freeze")
    form["top_layers"] = gr.Slider(
        1,
        on.n_layers,
        value=min(2, on.n_layers),
        step=1,
        label="Layers that learn, counted from the top",
        visible=False,
        elem_id="tune-top",
    )
    form["frozen_heads"] = gr.CheckboxGroup(heads, label="Heads that stay frozen", elem_id="tune-frozen")
    form["keep"] = gr.Checkbox(
        True, label="Hold sentence vectors near the old ones (retention)", visible=False, elem_id="tune-keep"
    )
    form["steps"] = gr.Slider(5, most, value=min(60, most), step=5, label="Steps", elem_id="tune-steps")
    form["rate"] = gr.Slider(1e-4, 1e-2, value=2e-3, step=1e-4, label="Learning rate of the heads")


def _before(
    context: Context,
    form: dict[str, gr.components.Component],
    on: FinetuneHandlers,
    values: list[gr.components.Component],
) -> None:
    """The network with what may move, the rows as the model sees them, what a step takes."""
    start = [getattr(form[name], "value", None) for name in FIELDS]
    with gr.Accordion("The network: what may move", open=False, elem_id="tune-designer"):
        drawing = gr.HTML(on.network("", BASE, *start), js_on_load=PRESS, elem_id="tune-network")
    with gr.Accordion("The data, and what a step takes", open=False, elem_id="tune-before"):
        with gr.Row():
            see = gr.Button("Look at the data", elem_id="tune-look")
            time = gr.Button("Measure two steps", elem_id="tune-measure")
        cost = gr.Markdown(elem_id="tune-cost-step")
        rows = gr.HTML(elem_id="tune-rows")
    see.click(spoken(on.data), values, rows, api_name="look_at_data")
    time.click(spoken(on.measure), values, cost, api_name="measure_step")
    pressed = [form[name] for name in ("moves", "top_layers", "frozen_heads")]
    drawing.click(on.press, pressed, pressed, api_name=False, show_progress="hidden")
    drawn_by = (*pressed, form["label_head"], form["span_head"], context.model)
    for field in drawn_by:
        field.change(spoken(on.network), values, drawing, api_name=False, show_progress="hidden")
    form["moves"].change(
        lambda how: [gr.update(visible=how == TOP_LAYERS), gr.update(visible=how not in (HEADS_ONLY, NOTHING))],
        form["moves"],
        [form["top_layers"], form["keep"]],
        api_name=False,
        queue=False,
    )


def _run(
    context: Context,
    form: dict[str, gr.components.Component],
    on: FinetuneHandlers,
    values: list[gr.components.Component],
) -> None:
    """The run itself: start, stop, curves, scores, what it cost, and the model to take away."""
    example = context.service.example_run
    with gr.Row():
        train = gr.Button("Train", variant="primary", elem_id="tune-go")
        halt = gr.Button("Stop and keep the best", elem_id="tune-stop")
    status = gr.Markdown(render.run_status(example), elem_id="tune-status")
    curve = gr.Plot(plots.loss_curve(example), label="Loss", elem_id="tune-curve")
    scores = gr.HTML(render.run_scores(example), elem_id="tune-scores")
    cost = gr.HTML(elem_id="tune-cost")
    runs = gr.HTML(elem_id="tune-runs")
    with gr.Row():
        get = gr.Button("Take the chosen model with you (zip)", elem_id="tune-download")
        capsule = gr.File(label="Weights, settings, curves, how to load it", visible=False, elem_id="tune-capsule")
    timer, seen = gr.Timer(TICK_S, active=False), gr.State(0)

    watched = [status, curve, scores, cost, runs, context.model, timer, seen]
    train.click(spoken(on.start), values, [status, timer], api_name="tune")
    halt.click(on.stop, context.session, None, api_name="stop", queue=False)
    get.click(spoken(on.take), context.who, capsule, api_name="capsule")
    look = spoken(on.look)
    timer.tick(look, [context.session, seen], watched, api_name=False, show_progress="hidden")
    context.ready.then(look, [context.session, seen], watched, api_name=False, show_progress="hidden")
    heads = [form[name] for name in ("label_head", "span_head", "frozen_heads")]
    context.model.change(on.offer_heads, context.who, heads, api_name=False)
    shown = [form[name] for name in ("file", "text_column", "label_column", "label_head", "span_head")]
    form["source"].change(on.show_source, [*context.who, form["source"]], shown, api_name=False, queue=False)
    columns = [form[name] for name in ("text_column", "label_column", "label_head", "span_head")]
    form["file"].change(spoken(on.offer_columns), form["file"], columns, api_name=False, show_progress="hidden")
