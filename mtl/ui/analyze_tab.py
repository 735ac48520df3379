"""One text: labels, entities and reasons; two models on it; a whole table; and what a person says against them."""

from __future__ import annotations

import gradio as gr

from mtl.errors import SessionError
from mtl.service.models import BASE
from mtl.ui import render, render_reading
from mtl.ui.context import SHARED, Context, spoken
from mtl.ui.corrections import create_corrections
from mtl.ui.render_map import literal

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
ENDINGS = {"CSV": ".csv", "JSONL": ".jsonl", "Parquet": ".parquet"}
MOST_OF_A_CELL = 60
"""Characters of a cell that the page shows."""
PREVIEW = 20
"""Rows of a labelled table that the page shows."""


def create_analyze_tab(context: Context) -> None:
    """Fills the tab that is open; its example is answered when the page is built."""
    with gr.Tabs():
        with gr.Tab("One text"):
            _one_text(context)
        with gr.Tab("Two models"):
            _two_models(context)
        with gr.Tab("A table"):
            _table(context)


def _one_text(context: Context) -> None:
    service = context.service
    kinds = list(
        dict.fromkeys(label for task in service.models.base.tasks if task.reads_words for label in task.labels)
    )

    @spoken
    def analyze(key: str, model: str, text: str, threshold: float, shown: list[str]) -> tuple[str, str]:
        tasks = service.models.get(key, model).tasks
        found = service.labelling.analyze(key, model, text)
        hidden = {kind for kind in kinds if kind not in shown}
        others = {label for task in tasks if task.reads_words for label in task.labels} - hidden
        marked = render.entities(text, found, tasks, threshold=threshold, kinds=others)
        return render.label_bars(found, tasks), marked

    @spoken
    def why(key: str, model: str, text: str, task: str) -> str:
        return render_reading.reasons(text.strip(), service.labelling.reasons(key, model, text.strip(), task))

    def offer(key: str, model: str) -> object:
        tasks = service.models.get(key, model).tasks
        names = [task.name for task in tasks if task.kind == "classification"]
        return gr.update(choices=names, value=next(iter(names), None))

    text = gr.Textbox(TEXT, label="Text", lines=3, elem_id="analyze-text")
    with gr.Row():
        threshold = gr.Slider(0, 1, value=0.5, step=0.05, label="Least confidence of an entity", elem_id="threshold")
        shown = gr.CheckboxGroup(kinds, value=kinds, label="Kinds of entities", elem_id="kinds")
        button = gr.Button("Analyze", variant="primary", elem_id="analyze-go")
    bars, marked = analyze("", BASE, TEXT, 0.5, kinds)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=340):
            entities = gr.HTML(marked, elem_id="analyze-entities")
        with gr.Column(min_width=340):
            labels = gr.HTML(bars, elem_id="analyze-labels")
    examples = gr.Examples([[example] for example in EXAMPLES], text, label="Try one of these")
    names = [task.name for task in service.models.base.tasks if task.kind == "classification"]
    with gr.Accordion("Why this label?", open=False, elem_id="why"):
        with gr.Row():
            task = gr.Dropdown(names, value=next(iter(names), None), label="Task", elem_id="why-task", scale=2)
            ask = gr.Button("Show the words it rests on", elem_id="why-go", scale=1)
        reasons = gr.HTML(elem_id="why-words")

    inputs, outputs = [*context.who, text, threshold, shown], [labels, entities]
    button.click(analyze, inputs, outputs, api_name="read", concurrency_limit=SHARED)
    chosen = examples.load_input_event.then
    create_corrections(context, text, (button.click, text.submit, chosen, context.model.input))
    for trigger in (text.submit, threshold.release, shown.input, context.model.input, chosen):
        trigger(analyze, inputs, outputs, api_name=False, concurrency_limit=SHARED)
    ask.click(why, [*context.who, text, task], reasons, api_name="why")
    context.model.change(offer, context.who, task, api_name=False, show_progress="hidden")
    context.share("text", text)
    context.restored(analyze, inputs, outputs)


def _two_models(context: Context) -> None:
    service = context.service

    @spoken
    def compare(key: str, model: str, other: str | None, text: str) -> str:
        sides = [
            render_reading.Answered(
                name, service.models.get(key, name).tasks, service.labelling.analyze(key, name, text)
            )
            for name in (model, other or BASE)
        ]
        return render_reading.compared(text, *sides)

    def offer(key: str) -> object:
        return gr.update(choices=service.models.names(key))

    gr.Markdown("The model that is chosen at the top, and another one: before and after a fine-tune, for example.")
    text = gr.Textbox(TEXT, label="Text", lines=3, elem_id="versus-text")
    with gr.Row():
        other = gr.Dropdown([BASE], value=BASE, label="The other model", elem_id="versus-model")
        button = gr.Button("Compare", variant="primary", elem_id="versus-go")
    result = gr.HTML(compare("", BASE, BASE, TEXT), elem_id="versus-result")
    inputs = [*context.who, other, text]
    button.click(compare, inputs, result, api_name="compare_models")
    for trigger in (text.submit, other.input, context.model.input):
        trigger(compare, inputs, result, api_name=False)
    other.focus(offer, context.session, other, api_name=False, show_progress="hidden")


def _table(context: Context) -> None:
    service = context.service

    @spoken
    def label(
        key: str,
        model: str,
        file: str | None,
        column: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio looks for it here
    ) -> tuple[object, ...]:
        path = file or str(service.settings.samples / "sentences.csv")
        found = service.labelling.batch(
            key, model, path, column or None, on_progress=lambda share: progress(share, desc="Labelling")
        )
        problems = [
            f"row {place + 1} {literal(str(row['error']))}" for place, row in enumerate(found.rows) if row["error"]
        ]
        note = f"{len(found.rows) - found.n_errors:,} of {len(found.rows):,} rows labelled."
        note += f" Left out: {'; '.join(problems[:10])}." if problems else ""
        rows = [[_cell(row[name]) for name in found.preview] for row in found.rows[:PREVIEW]]
        return (
            note,
            gr.update(value={"headers": list(found.preview), "data": rows}, visible=True),
            service.labelling.shelf.put(found, found.weight, owner=key),
        )

    @spoken
    def download(ticket: str | None, form: str) -> object:
        if ticket is None:
            raise SessionError("Nothing is labelled yet; label a table first.")
        return gr.update(value=str(service.labelling.shelf.get(ticket).write(ENDINGS[form])), visible=True)

    @spoken
    def offer_columns(file: str | None) -> object:
        return gr.update(choices=list(service.corpora.columns(file)) if file else [], value=None)

    gr.Markdown(
        "A table in, the same table with labels, confidences and entities out (below: the first rows, cut, without "
        "confidences). Blank: the sample sentences. In CSV a cell that a spreadsheet would run as a formula begins "
        "with an apostrophe."
    )
    with gr.Row():
        file = gr.File(label="CSV, TSV, JSONL or Parquet (also .gz)", elem_id="batch-file", height=120)
        column = gr.Dropdown([], label="Column that holds the text (blank: 'text', else the longest)",
                             elem_id="batch-column")  # fmt: skip
    button = gr.Button("Label the table", variant="primary", elem_id="batch-go")
    note = gr.Markdown("Nothing labelled yet.", elem_id="batch-note")
    preview = gr.Dataframe(label="The first rows", visible=False, interactive=False, elem_id="batch-rows", wrap=True)
    with gr.Row():
        form = gr.Dropdown(list(ENDINGS), value="CSV", label="Take the table with you", elem_id="batch-format")
        get = gr.Button("Prepare the download", elem_id="batch-download")
    out = gr.File(label="Your table", visible=False, elem_id="batch-out")
    ticket = gr.State(None)
    file.change(offer_columns, file, column, api_name=False, show_progress="hidden")
    button.click(
        label, [*context.who, file, column], [note, preview, ticket], api_name="batch", show_progress_on=[note]
    )
    get.click(download, [ticket, form], out, api_name="download_table")


def _cell(value: object) -> str:
    """A value as a person reads it; spans as their words."""
    if isinstance(value, list):
        return ", ".join(f"{one.get('word', '')} ({one.get('label', '')})" for one in value if isinstance(one, dict))
    said = "" if value is None else str(value)
    return said if len(said) <= MOST_OF_A_CELL else f"{said[: MOST_OF_A_CELL - 1]}…"
