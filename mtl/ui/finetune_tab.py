"""A few rows, a choice of what may move, real training steps, and what they changed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import gradio as gr

from mtl.errors import SessionError
from mtl.service.tuning import TuneRequest
from mtl.training.config import FreezePolicy
from mtl.ui import plots, render, render_reading
from mtl.ui.context import Context, spoken

SAMPLE, UPLOAD, CORRECTED = "Sample: help-desk requests", "My table", "My corrections"
HEADS_ONLY = "Encoder frozen: only heads learn (fast, nothing is forgotten)"
TOP_LAYERS = "Top layers and heads learn"
ALL = "Everything learns"
TARGETS = ("text", "tokens", "tags", "spans")
TICK_S = 1.0


def create_finetune_tab(context: Context) -> None:
    """Fills the tab that is open; a page that is loaded again finds its run."""
    service = context.service
    n_layers = service.models.base.model.encoder.n_layers

    @spoken
    def start(
        key: str,
        model: str,
        source: str,
        file: str | None,
        text_column: str | None,
        label_column: str | None,
        label_head: str | None,
        span_head: str | None,
        freezing: str,
        top_layers: float,
        frozen_heads: list[str],
        steps: float,
        rate: float,
        keep: bool,
    ) -> tuple[str, gr.Timer]:
        heads = {"classification": (label_head or "").strip(), "ner": (span_head or "").strip()}
        if source == CORRECTED:
            path = service.labelling.corrections_table(key, heads)
        else:
            path = service.settings.samples / "helpdesk.marked" if source == SAMPLE else _uploaded(file)
        columns = {"text": text_column, "label": label_column} if source == UPLOAD else {}
        request = TuneRequest(
            path=path,
            heads={kind: name for kind, name in heads.items() if name},
            columns={ours: theirs for ours, theirs in columns.items() if theirs and theirs != ours},
            freeze=_policy(freezing, n_layers - int(top_layers), frozen_heads),
            steps=int(steps),
            head_lr=rate,
            retention=keep,
        )
        run = service.tune(key, model, request)
        return render.run_status(run), gr.Timer(active=True)

    @spoken
    def look(key: str, seen: int) -> tuple[object, ...]:
        run = service.run(key)
        news = len(run.events) if run else 0
        active = run is not None and run.active
        drawing = plots.loss_curve(run) if news != seen else gr.skip()
        picker = (
            gr.skip() if active and seen else gr.Dropdown(choices=service.models.names(key))
        )  # an open list would close
        tuned = service.tuned(key, run.name) if run and not active else None
        cost = render_reading.drift(tuned.drift if tuned else None)
        scores = render.run_scores(run)
        return render.run_status(run), drawing, scores, cost, picker, gr.Timer(active=active), news

    @spoken
    def take(key: str, model: str) -> object:
        return gr.update(value=str(service.capsule(key, model)), visible=True)

    def stop(key: str) -> None:
        service.stop(key)

    def offer_heads(key: str, model: str) -> tuple[dict[str, object], ...]:
        tasks = service.models.get(key, model).tasks
        kinds = [[t.name for t in tasks if t.kind == kind] for kind in ("classification", "ner")]
        with_weights = [t.name for t in tasks if t.n_texts == 1]
        return gr.update(choices=kinds[0]), gr.update(choices=kinds[1]), gr.update(choices=with_weights, value=[])

    def show_inputs(key: str, model: str, source: str) -> list[object]:
        fields: list[object] = [gr.update(visible=source == UPLOAD)] * 3
        if source == SAMPLE:
            return [*fields, "request", "things"]
        if source == UPLOAD:
            return [*fields, gr.skip(), gr.skip()]
        corrected = Counter(name for example in service.labelling.corrections(key) for name in example.targets)
        known = {task.name: task.kind for task in service.models.get(key, model).tasks}
        kinds = {known[name]: name for name, _ in reversed(corrected.most_common()) if name in known}
        return [*fields, *(kinds.get(kind, "") for kind in ("classification", "ner"))]

    @spoken
    def offer_columns(file: str | None) -> list[dict[str, object]]:
        names = service.corpora.columns(file) if file else ()
        text = next((name for name in names if name in ("text", "tokens")), names[0] if names else None)
        others = [name for name in names if name not in TARGETS and name != text]
        label = "label" if "label" in others else next(iter(others), None)
        spans = "things" if {"spans", "tags"} & set(names) else None
        return [
            gr.update(choices=list(names), value=text),
            gr.update(choices=list(names), value=label),
            gr.update(value=label and "".join(c if c.isalnum() else "_" for c in label)),
            gr.update(value=spans),
        ]

    example = service.example_run
    names = {kind: [t.name for t in service.models.base.tasks if t.kind == kind] for kind in ("classification", "ner")}
    with gr.Row(equal_height=False):
        with gr.Column():
            source = gr.Radio([SAMPLE, UPLOAD, CORRECTED], value=SAMPLE, label="Data", elem_id="tune-source")
            file = gr.File(
                label="CSV, TSV, JSONL, Parquet, CoNLL or marked text (also .gz)",
                visible=False,
                elem_id="tune-file",
                height=120,
            )
            text_column = gr.Dropdown([], label="Column with the text", visible=False, elem_id="tune-text")
            label_column = gr.Dropdown([], label="Column with the label", visible=False, elem_id="tune-label")
            label_head = gr.Dropdown(
                names["classification"],
                value="request",
                label="Head that learns the labels",
                info="An existing head, a new name, or blank for none",
                allow_custom_value=True,
                elem_id="tune-label-head",
            )
            span_head = gr.Dropdown(
                names["ner"],
                value="things",
                label="Head that learns the entities",
                info="An existing head, a new name, or blank for none",
                allow_custom_value=True,
                elem_id="tune-span-head",
            )
        with gr.Column():
            freezing = gr.Radio(
                [HEADS_ONLY, TOP_LAYERS, ALL], value=HEADS_ONLY, label="What may move", elem_id="tune-freeze"
            )
            top_layers = gr.Slider(
                1, n_layers, value=2, step=1, label="Layers that learn, counted from the top", visible=False
            )
            frozen_heads = gr.CheckboxGroup(
                [t.name for t in service.models.base.tasks if t.n_texts == 1], label="Heads that stay frozen"
            )
            keep = gr.Checkbox(True, label="Hold sentence vectors near the old ones (retention)", visible=False)
            steps = gr.Slider(
                5,
                service.settings.max_steps,
                value=min(60, service.settings.max_steps),
                step=5,
                label="Steps",
                elem_id="tune-steps",
            )
            rate = gr.Slider(1e-4, 1e-2, value=2e-3, step=1e-4, label="Learning rate of the heads")
    with gr.Row():
        train = gr.Button("Train", variant="primary", elem_id="tune-go")
        halt = gr.Button("Stop and keep the best", elem_id="tune-stop")
    status = gr.Markdown(render.run_status(example), elem_id="tune-status")
    curve = gr.Plot(plots.loss_curve(example), label="Loss", elem_id="tune-curve")
    scores = gr.HTML(render.run_scores(example), elem_id="tune-scores")
    cost = gr.HTML(elem_id="tune-cost")
    with gr.Row():
        get = gr.Button("Take the chosen model with you (zip)", elem_id="tune-download")
        capsule = gr.File(label="Weights, settings, curves, how to load it", visible=False, elem_id="tune-capsule")
    timer = gr.Timer(TICK_S, active=False)
    seen = gr.State(0)

    who = [context.session, context.model]
    choices = [source, file, text_column, label_column, label_head, span_head, freezing, top_layers, frozen_heads]
    watched = [status, curve, scores, cost, context.model, timer, seen]
    train.click(start, [*who, *choices, steps, rate, keep], [status, timer], api_name="tune")
    get.click(take, who, capsule, api_name="capsule")
    halt.click(stop, context.session, None, api_name="stop", queue=False)
    timer.tick(look, [context.session, seen], watched, api_name=False, show_progress="hidden")
    context.ready.then(look, [context.session, seen], watched, api_name=False, show_progress="hidden")
    context.model.change(offer_heads, who, [label_head, span_head, frozen_heads], api_name=False)
    shown = [file, text_column, label_column, label_head, span_head]
    source.change(show_inputs, [*who, source], shown, api_name=False, queue=False)
    columns = [text_column, label_column, label_head, span_head]
    file.change(offer_columns, file, columns, api_name=False, show_progress="hidden")
    freezing.change(
        lambda how: [gr.update(visible=how == TOP_LAYERS), gr.update(visible=how != HEADS_ONLY)],
        freezing,
        [top_layers, keep],
        api_name=False,
        queue=False,
    )


def _policy(how: str, frozen_layers: int, heads: list[str]) -> FreezePolicy:
    if how == HEADS_ONLY:
        return FreezePolicy(encoder=True, heads=tuple(heads))
    if how == TOP_LAYERS:
        return FreezePolicy(embeddings=True, layers=frozen_layers, heads=tuple(heads))
    return FreezePolicy(heads=tuple(heads))


def _uploaded(file: str | None) -> Path:
    if file is None:
        raise SessionError("No table yet; upload one first.")
    return Path(file)
