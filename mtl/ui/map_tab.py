"""Sentences as points: PCA at once, UMAP after it, coloured by what the model says or by any column."""

from __future__ import annotations

import re
from collections.abc import Iterator

import gradio as gr
import plotly.graph_objects as go

from mtl.errors import SessionError
from mtl.service.service import Corpus, MapPoints, Service
from mtl.ui import plots
from mtl.ui.context import Context, spoken

SAMPLES, PASTED, TABLE = "Sample sentences", "Pasted lines", "A table"
STALE = "This map was drawn with another model; press **Draw the map**."


def create_map_tab(context: Context) -> None:
    """Fills the tab that is open; the sample map is drawn when the page loads."""
    service = context.service

    @spoken
    def draw(
        key: str, model: str, source: str, lines: str, file: str | None, column: str | None, colour: str | None
    ) -> Iterator[tuple[go.Figure, str, dict[str, object], MapPoints]]:
        first = service.read_corpus(key, model, _corpus(service, source, lines, file, column))
        yield _shown(first, colour, "UMAP follows …")
        yield _shown(service.refine(first), colour, "")

    @spoken
    def recolour(points: MapPoints | None, colour: str | None) -> go.Figure | dict[str, object]:
        return gr.skip() if points is None else plots.scatter(points, colour)

    @spoken
    def place(
        key: str, model: str, points: MapPoints | None, colour: str | None, text: str
    ) -> tuple[go.Figure | dict[str, object], str]:
        placed = service.place(key, model, points, text)
        shown = gr.skip() if points is None else plots.scatter(points, colour, placed)
        return shown, f"Your sentence is the star. Nearest to it: {_literal(placed.nearest)}"

    @spoken
    def offer_columns(file: str | None) -> list[dict[str, object]]:
        names = list(service.columns(file)) if file else []
        others = [name for name in names if name != "text"]
        return [gr.update(choices=names, value=None), gr.update(choices=others, value=None)]

    def show_inputs(source: str) -> list[dict[str, object]]:
        return [gr.update(visible=source == PASTED), *[gr.update(visible=source == TABLE)] * 2]

    with gr.Row():
        source = gr.Radio(
            [SAMPLES, PASTED, TABLE], value=SAMPLES, label="Sentences", min_width=320, elem_id="map-source"
        )
        colour = gr.Dropdown([], label="Colour by", min_width=280, elem_id="map-colour")
    lines = gr.Textbox(label="Sentences, one a line", lines=6, visible=False, elem_id="map-lines")
    file = gr.File(label="CSV, TSV, JSONL or Parquet (also .gz)", visible=False, elem_id="map-file", height=120)
    column = gr.Dropdown(
        [], label="Column that holds the text (blank: 'text', else the longest)", visible=False, elem_id="map-column"
    )
    button = gr.Button("Draw the map", variant="primary", elem_id="map-go")
    plot = gr.Plot(label="Map of sentences", elem_id="map-plot")
    note = gr.Markdown("The sample map follows …", elem_id="map-note")
    with gr.Row():
        sentence = gr.Textbox(
            label="Place a sentence on this map", max_lines=3, scale=4, elem_id="map-sentence", submit_btn=True
        )
    points = gr.State(None)

    inputs = [context.session, context.model, source, lines, file, column, colour]
    outputs = [plot, note, colour, points]
    button.click(draw, inputs, outputs, api_name="map", show_progress_on=[note])
    file.change(offer_columns, file, [column, colour], api_name=False, show_progress="hidden")
    context.ready.then(draw, inputs, outputs, api_name=False, show_progress="hidden")
    sentence.submit(place, [context.session, context.model, points, colour, sentence], [plot, note], api_name="place")
    colour.input(recolour, [points, colour], plot, api_name=False)
    context.model.input(lambda: STALE, None, note, api_name=False, queue=False)
    source.change(show_inputs, source, [lines, file, column], api_name=False, queue=False)


def _corpus(service: Service, source: str, lines: str, file: str | None, column: str | None) -> Corpus:
    if source == SAMPLES:
        return service.sample_corpus
    if source == PASTED:
        return service.corpus_from_lines(lines)
    if file is None:
        raise SessionError("No table yet; upload a CSV, TSV, JSONL or Parquet file first.")
    return service.corpus_from_file(file, column or None)


def _literal(text: str, limit: int = 200) -> str:
    """A text as Markdown that shows it as it is."""
    shown = " ".join(text[:limit].split()) + (" …" if len(text) > limit else "")
    return re.sub(r"([\\`*_{}\[\]()#+\-.!<>|&~:])", r"\\\1", shown)


def _shown(points: MapPoints, colour: str | None, waiting: str) -> tuple[go.Figure, str, dict[str, object], MapPoints]:
    columns = list(points.corpus.columns)
    chosen = colour if colour in columns else (columns[0] if columns else None)
    cut = sum(analysis.truncated_at is not None for analysis in points.analyses)
    note = f"{len(points.analyses):,} sentences placed by **{points.method}**. {waiting}"
    note += f"Trustworthiness {points.trust:.2f}." if points.trust is not None and points.method == "UMAP" else ""
    note += f" {cut} of them are longer than the model reads and were cut." if cut else ""
    left_out = points.corpus.left_out
    note += f" {left_out} rows without a text were left out." if left_out else ""
    return plots.scatter(points, chosen), note, gr.update(choices=columns, value=chosen), points
