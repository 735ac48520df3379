"""Two sentences, a list with itself, a query against a list."""

from __future__ import annotations

import csv

import gradio as gr
import plotly.graph_objects as go

from mtl.service.service import BASE, Service
from mtl.ui import plots, render
from mtl.ui.context import Context, spoken

LEFT = "The train was held up for an hour by snow on the line."
RIGHT = "Because of heavy snow our train arrived sixty minutes late."
LINES = """The train was held up for an hour by snow on the line.
Because of heavy snow our train arrived sixty minutes late.
The flight left on time in spite of the storm.
My soup was cold when it came to the table.
The waiter brought us lukewarm soup.
Shares in the bank fell after its profit warning."""
QUERY = "cheap places to sleep near the station"
CORPUS = """Our hostel is two minutes from the central station, beds from 19 euros.
The museum closes at six on Sundays.
A budget hotel with clean rooms right beside the tracks.
Take the tram from the station to the old town.
The five-star palace by the lake has its own spa.
Breakfast is not included in the price of the room.
The station bakery opens at five in the morning."""


def create_similarity_tab(context: Context) -> None:
    """Fills the tab that is open; its examples are answered when the page is built."""
    service = context.service

    @spoken
    def compare(key: str, model: str, left: str, right: str) -> str:
        return render.pair_score(service.compare(key, model, left, right))

    @spoken
    def matrix(key: str, model: str, lines: str) -> tuple[go.Figure, str]:
        found = service.matrix(key, model, lines)
        return plots.heat_map(found), render.matrix_note(found)

    @spoken
    def search(key: str, model: str, query: str, lines: str, top_k: float) -> str:
        return render.hits(service.search(key, model, query, lines, top_k=int(top_k)))

    with gr.Tabs():
        with gr.Tab("Two sentences"):
            with gr.Row():
                left = gr.Textbox(LEFT, label="First sentence", lines=2, min_width=280, elem_id="pair-left")
                right = gr.Textbox(RIGHT, label="Second sentence", lines=2, min_width=280, elem_id="pair-right")
            pair_button = gr.Button("Compare", variant="primary", elem_id="pair-go")
            score = gr.HTML(compare("", BASE, LEFT, RIGHT), elem_id="pair-score")
            gr.Examples(_pairs(service), [left, right], label="Try one of these")
        with gr.Tab("A list"):
            lines = gr.Textbox(LINES, label="Sentences, one a line (2 to 40)", lines=6, elem_id="matrix-lines")
            matrix_button = gr.Button("Draw the heat map", variant="primary", elem_id="matrix-go")
            figure, cut = matrix("", BASE, LINES)
            note = gr.HTML(cut)
            plot = gr.Plot(figure, label="Cosine of each pair", elem_id="matrix-plot")
        with gr.Tab("Search"):
            query = gr.Textbox(QUERY, label="Query", elem_id="search-query")
            corpus = gr.Textbox(CORPUS, label="Sentences, one a line", lines=7, elem_id="search-lines")
            top_k = gr.Slider(1, 50, value=5, step=1, label="Results")
            search_button = gr.Button("Search", variant="primary", elem_id="search-go")
            results = gr.HTML(search("", BASE, QUERY, CORPUS, 5), elem_id="search-results")

    who = [context.session, context.model]
    pair, listed, asked = [*who, left, right], [*who, lines], [*who, query, corpus, top_k]
    pair_button.click(compare, pair, score, api_name="compare")
    matrix_button.click(matrix, listed, [plot, note], api_name="matrix")
    search_button.click(search, asked, results, api_name="search")
    for trigger in (left.submit, right.submit, context.model.input):
        trigger(compare, pair, score, api_name=False)
    for trigger in (query.submit, context.model.input):
        trigger(search, asked, results, api_name=False)
    context.model.input(matrix, listed, [plot, note], api_name=False)


def _pairs(service: Service) -> list[list[str]]:
    """A few of the sample pairs."""
    path = service.settings.samples / "pairs.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [[row["sentence1"], row["sentence2"]] for row in rows[:: max(1, len(rows) // 5)][:5]]
