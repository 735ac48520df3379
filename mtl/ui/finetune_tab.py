"""A few rows, a choice of what may move, real training steps, and what they changed."""

from __future__ import annotations

import gradio as gr

from mtl.service.models import BASE
from mtl.ui import plots_tune, render_tune
from mtl.ui.context import Context, spoken
from mtl.ui.finetune_form import (
    CORRECTED,
    FIELDS,
    HEADS_ONLY,
    SAMPLE,
    SAMPLERS,
    TOP_LAYERS,
    UPLOAD,
    Form,
    balancings,
    presets,
)
from mtl.ui.finetune_handlers import FinetuneHandlers

TICK_S = 0.7
PRESS = """
element.addEventListener("click", event => {
  const part = event.target.closest("[data-part]");
  if (part) trigger("click", {part: part.dataset.part});
});
"""
LIVE = (
    {"curve": "Loss on the training rows", "held": "Score on rows put aside"},
    {"conflict": "Do the tasks pull apart?", "weights": "What each loss counts"},
)
"""Figures in the order of `plots_tune.live`, side by side where there is room."""
Fields = dict[str, gr.components.Component]


def create_finetune_tab(context: Context) -> None:
    """Fills the tab that is open; a page that is loaded again finds its run."""
    on = FinetuneHandlers(context.service)
    form: Fields = {}
    usual = Form(steps=min(Form.steps, context.service.settings.max_steps))
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            gr.Markdown("### 1. What to learn from")
            _data(context, form, usual)
            table = gr.HTML(elem_id="tune-table")
        with gr.Column(min_width=320):
            gr.Markdown("### 2. What may move")
            _moves(context, form, on, usual)
            values = [on.network("", BASE, *(getattr(usual, name) for name in FIELDS))]
            drawing = gr.HTML(values[0], js_on_load=PRESS, elem_id="tune-network")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            gr.Markdown("### 3. How long and how fast")
            _pace(context, form, usual)
            time = gr.Button("Measure two steps", elem_id="tune-measure")
            cost = gr.Markdown(elem_id="tune-cost-step")
        with gr.Column(min_width=320):
            gr.Markdown("### 4. What must not be forgotten")
            _keep(form, usual)
    with gr.Accordion("The mix of tasks, before any step", open=False, elem_id="tune-mix-panel"):
        _mix(form, usual)
        mix = gr.HTML(elem_id="tune-mix")
    with gr.Accordion("The first rows as the model sees them", open=False, elem_id="tune-before"):
        rows = gr.HTML(elem_id="tune-rows")
    again = _again(context, form, on)
    everyone = [*context.who, *(form[name] for name in FIELDS)]
    time.click(spoken(on.measure), everyone, cost, api_name="measure_step")
    _designer(context, form, on, everyone, drawing)
    preview = [table, rows, mix, *again]
    gr.on(
        [field.change for field in (*form.values(), context.model)],
        on.preview,
        everyone,
        preview,
        api_name="preview_run",
        show_progress="hidden",
        trigger_mode="always_last",
        concurrency_limit=2,
    )
    context.ready.then(on.preview, everyone, preview, api_name=False, show_progress="hidden")
    _run(context, form, on, everyone)


def _data(context: Context, form: Fields, usual: Form) -> None:
    """What to learn from, and which heads learn it."""
    tasks = context.service.models.base.tasks
    form["source"] = gr.Radio([SAMPLE, UPLOAD, CORRECTED], value=usual.source, label="Data", elem_id="tune-source")
    form["file"] = gr.File(
        label="CSV, TSV, JSONL, Parquet, CoNLL or marked text (also .gz)",
        visible=False,
        elem_id="tune-file",
        height=120,
    )
    form["text_column"] = gr.Dropdown(
        [], label="Column with the text", visible=False, allow_custom_value=True, elem_id="tune-text"
    )
    form["label_column"] = gr.Dropdown(
        [], label="Column with the label", visible=False, allow_custom_value=True, elem_id="tune-label"
    )
    for name, kind, what in (("label_head", "classification", "labels"), ("span_head", "ner", "entities")):
        form[name] = gr.Dropdown(
            [task.name for task in tasks if task.kind == kind],
            value=getattr(usual, name),
            label=f"Head that learns the {what}",
            info="An existing head, a new name, or blank for none",
            allow_custom_value=True,
            elem_id=f"tune-{name.replace('_', '-')}",
        )


def _moves(context: Context, form: Fields, on: FinetuneHandlers, usual: Form) -> None:
    """What may move."""
    heads = [t.name for t in context.service.models.base.tasks if t.n_texts == 1]
    form["moves"] = gr.Radio(presets(), value=usual.moves, label="What may move", elem_id="tune-freeze")
    form["top_layers"] = gr.Slider(
        1,
        on.n_layers,
        value=min(usual.top_layers, on.n_layers),
        step=1,
        label="Layers that learn, counted from the top",
        visible=False,
        elem_id="tune-top",
    )
    form["frozen_heads"] = gr.CheckboxGroup(heads, label="Heads that stay frozen", elem_id="tune-frozen")


def _pace(context: Context, form: Fields, usual: Form) -> None:
    """For how long and how fast."""
    most = context.service.settings.max_steps
    form["steps"] = gr.Slider(5, most, value=usual.steps, step=5, label="Steps", elem_id="tune-steps")
    form["rate"] = gr.Slider(
        1e-4, 1e-2, value=usual.rate, step=1e-4, label="Learning rate of the heads", elem_id="tune-rate"
    )
    form["encoder_rate"] = gr.Slider(
        1e-5,
        5e-4,
        value=usual.encoder_rate,
        step=1e-5,
        label="Learning rate of the encoder",
        visible=usual.moves != HEADS_ONLY,
        elem_id="tune-encoder-rate",
    )


def _keep(form: Fields, usual: Form) -> None:
    """What keeps the old tasks alive."""
    form["keep"] = gr.Checkbox(
        usual.keep,
        label="Hold sentence vectors near the old ones (retention)",
        info="Acts where the encoder moves: similarity and maps stay as they were",
        elem_id="tune-keep",
    )
    form["replay"] = gr.Checkbox(
        usual.replay,
        label="Replay sample sentences for the old heads",
        info="The encoder stays fit for their old answers; a head that you train further rehearses its own",
        elem_id="tune-replay",
    )
    form["replay_weight"] = gr.Slider(
        0.05,
        2,
        value=usual.replay_weight,
        step=0.05,
        label="Weight of what is replayed; yours is 1",
        elem_id="tune-replay-weight",
    )


def _mix(form: Fields, usual: Form) -> None:
    """How often which source is drawn, and what the loss of each head counts."""
    with gr.Row():
        form["sampler"] = gr.Dropdown(
            list(SAMPLERS), value=usual.sampler, label="Which source a step draws", elem_id="tune-sampler"
        )
        form["temperature"] = gr.Slider(
            1, 10, value=usual.temperature, step=0.5, label="Temperature: higher is more even", visible=False,
            elem_id="tune-temperature",
        )  # fmt: skip
    with gr.Row():
        form["balancing"] = gr.Dropdown(
            balancings(), value=usual.balancing, label="How the losses are balanced", elem_id="tune-balancing"
        )
        for name, what in (("label_weight", "labels"), ("span_weight", "entities")):
            form[name] = gr.Slider(
                0, 5, value=getattr(usual, name), step=0.1, label=f"Weight of the loss of the {what}",
                elem_id=f"tune-{name.replace('_', '-')}",
            )  # fmt: skip
    form["sampler"].change(
        lambda how: gr.update(visible=SAMPLERS[how] == "temperature"),
        form["sampler"],
        form["temperature"],
        api_name=False,
        queue=False,
    )


def _again(context: Context, form: Fields, on: FinetuneHandlers) -> list[gr.components.Component]:
    """The same run outside the page, and the settings of an earlier one."""
    with gr.Accordion(
        "The same as a command and in Python; settings of an earlier run", open=False, elem_id="tune-same"
    ):
        command, recipe, python = (
            gr.Textbox(label=label, lines=1, max_lines=24, interactive=False, buttons=["copy"], elem_id=f"tune-{name}",
                       elem_classes="mtl-code")
            for name, label in (
                ("command", "Command"), ("recipe", "run/recipe.yaml"), ("python", "Python")
            )
        )  # fmt: skip
        gr.Markdown(
            "Run these in the folder of mtl. `run/` is a folder there that holds `recipe.yaml`, your table and, where "
            "samples are replayed, `replay.jsonl`; the zip that you take along has both files. A model that was tuned "
            "before is unpacked under the name that the recipe begins with."
        )
        file = gr.File(
            label="Settings of an earlier run: its zip, or settings.json out of it",
            file_types=[".zip", ".json"],
            elem_id="tune-restore",
            height=120,
        )
        note = gr.Markdown(elem_id="tune-restored")
    fields = [form[name] for name in FIELDS]
    file.upload(spoken(on.restore), [*context.who, file], [*fields, note], api_name=False, show_progress="hidden")
    return [command, recipe, python]


def _designer(
    context: Context, form: Fields, on: FinetuneHandlers, everyone: list[gr.components.Component], drawing: gr.HTML
) -> None:
    """The drawing follows the fields, and the fields a press on the drawing."""
    pressed = [form[name] for name in ("moves", "top_layers", "frozen_heads")]
    drawing.click(on.press, pressed, pressed, api_name=False, show_progress="hidden")
    for field in (*pressed, form["label_head"], form["span_head"], form["replay"], context.model):
        field.change(spoken(on.network), everyone, drawing, api_name=False, show_progress="hidden")
    form["moves"].change(
        lambda how: [gr.update(visible=how == TOP_LAYERS), gr.update(visible=how != HEADS_ONLY)],
        form["moves"],
        [form["top_layers"], form["encoder_rate"]],
        api_name=False,
        queue=False,
    )


def _run(context: Context, form: Fields, on: FinetuneHandlers, everyone: list[gr.components.Component]) -> None:
    """The run itself: start, stop, curves, scores, what it cost, and the model to take away."""
    example = context.service.example_run
    with gr.Row():
        train = gr.Button("Train", variant="primary", elem_id="tune-go")
        halt = gr.Button("Stop and keep the best", elem_id="tune-stop")
    status = gr.Markdown(render_tune.status(example), elem_id="tune-status")
    live: list[gr.components.Component] = []
    figures = iter(plots_tune.live(example))
    for pair in LIVE:
        with gr.Row():
            for one, label in pair.items():
                figure = next(figures)
                with gr.Column(min_width=320):
                    live.append(gr.Plot(figure, label=label, elem_id=f"tune-{one}", visible=figure is not None))
    scores = gr.HTML(render_tune.scores(example), elem_id="tune-scores")
    asked = gr.HTML(elem_id="tune-asked", visible=False)
    cost = gr.HTML(elem_id="tune-cost", visible=False)
    runs = gr.HTML(elem_id="tune-runs", visible=False)
    overlay = gr.Plot(label="Your runs", elem_id="tune-overlay", visible=False)
    with gr.Row():
        see = gr.Button("Show the map before and after", elem_id="tune-moved-go")
        get = gr.Button("Take the model with you (zip)", elem_id="tune-download")
    moved = gr.Plot(label="Sentences before and after, on the same axes", elem_id="tune-moved", visible=False)
    capsule = gr.File(label="Weights, settings, curves, how to load it", visible=False, elem_id="tune-capsule")
    timer, seen = gr.Timer(TICK_S, active=False), gr.State("")

    watched = [status, *live, scores, asked, cost, runs, overlay, context.model, timer, seen]
    look = {"fn": spoken(on.look), "inputs": [context.session, seen], "outputs": watched}
    train.click(spoken(on.start), everyone, watched, api_name="tune", show_progress="hidden", concurrency_limit=8)
    halt.click(on.stop, context.session, None, api_name="stop", queue=False)
    get.click(spoken(on.take), context.who, capsule, api_name="capsule")
    see.click(spoken(on.moved), context.who, moved, api_name="moved_map")
    timer.tick(**look, api_name=False, show_progress="hidden", trigger_mode="once")
    context.ready.then(**look, api_name=False, show_progress="hidden")
    heads = [form[name] for name in ("label_head", "span_head", "frozen_heads")]
    context.model.change(on.offer_heads, context.who, heads, api_name=False)
    shown = [form[name] for name in ("file", "text_column", "label_column", "label_head", "span_head", "steps")]
    form["source"].input(on.show_source, [*context.who, form["source"]], shown, api_name=False, queue=False)
    columns = [form[name] for name in ("text_column", "label_column", "label_head", "span_head")]
    offered = [form["file"], *columns]
    form["file"].change(spoken(on.offer_columns), offered, columns, api_name=False, show_progress="hidden")
