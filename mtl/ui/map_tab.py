"""Sentences as points: PCA at once, UMAP after it, coloured by what the model says or by any column."""

from __future__ import annotations

import gradio as gr

from mtl.ui.bridge import figure_events
from mtl.ui.context import Context, spoken
from mtl.ui.corpus_input import create_corpus_input
from mtl.ui.map_handlers import DEEP, FLAT, FORMATS, HINT, NO_OTHER, MapHandlers

STALE = "This map was drawn with another model; press **Draw the map**."


def create_map_tab(context: Context) -> None:
    """Fills the tab that is open; the sample map is drawn when the page loads."""
    on = MapHandlers(context.service)
    corpus = create_corpus_input(context.service.corpora, "map")
    with gr.Row():
        colour = gr.Dropdown([], label="Colour by", min_width=200, elem_id="map-colour")
        dims = gr.Radio([FLAT, DEEP], value=FLAT, label="Dimensions", min_width=140, elem_id="map-dims")
        other = gr.Dropdown(
            [NO_OTHER], value=NO_OTHER, label="Beside a second model", min_width=200, elem_id="map-other"
        )
    with gr.Row():
        button = gr.Button("Draw the map", variant="primary", elem_id="map-go")
        grouped = gr.Button("Find clusters", elem_id="map-cluster")
    note = gr.Markdown("The sample map follows …", elem_id="map-note")
    with gr.Row():
        plot = gr.Plot(label="Map of sentences", elem_id="map-plot", min_width=320)
        second = gr.Plot(label="The same by the second model", elem_id="map-plot-2", visible=False, min_width=320)
    with gr.Row():
        query = gr.Textbox(
            label="Find words, or what means them", max_lines=1, submit_btn=True, elem_id="map-find", min_width=260
        )
        sentence = gr.Textbox(
            label="Place a sentence on this map", max_lines=3, elem_id="map-sentence", submit_btn=True, min_width=260
        )
    details = gr.HTML(HINT, elem_id="map-report")
    with gr.Row():
        form = gr.Dropdown(
            list(FORMATS), value=next(iter(FORMATS)), label="Take the map with you", elem_id="map-format"
        )
        get = gr.Button("Prepare the download", elem_id="map-download")
    file = gr.File(label="Your map", visible=False, elem_id="map-file-out")
    ticket, marked = gr.State(None), gr.State([])
    events = figure_events("map-plot")

    inputs, both = [*context.who, colour, dims, other, *corpus.fields], [plot, second]
    outputs = [*both, note, colour, ticket, marked, details]
    draw = spoken(on.draw)
    button.click(draw, inputs, outputs, api_name="map", show_progress_on=[note])
    context.ready.then(draw, inputs, outputs, api_name=False, show_progress="hidden")
    other.focus(on.offer_models, context.who, other, api_name=False, show_progress="hidden")
    context.model.input(lambda: STALE, None, note, api_name=False, queue=False)
    grouped.click(spoken(on.cluster), ticket, outputs, api_name="clusters", show_progress_on=[note])
    colour.input(spoken(on.recolour), [ticket, marked, colour], both, api_name=False)
    query.submit(spoken(on.find), [context.session, ticket, colour, query], [*both, note, marked], api_name="find")
    star = [*context.who, ticket, marked, colour, sentence]
    sentence.submit(spoken(on.place), star, [*both, note], api_name="place")
    happened = [details, marked, note, *both]
    events.change(spoken(on.report), [ticket, colour, events], happened, api_name=False, show_progress="hidden")
    get.click(spoken(on.download), [ticket, marked, colour, form], file, api_name="download_map")
