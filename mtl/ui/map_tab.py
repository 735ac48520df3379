"""Sentences as points: PCA at once, UMAP after it, coloured by what the model says or by any column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import gradio as gr
import plotly.graph_objects as go

from mtl.inference.export import write_rows
from mtl.service import regions
from mtl.service.downloads import place_for
from mtl.service.maps import Dims, MapPoints, drawn
from mtl.ui import render_reading
from mtl.ui.bridge import figure_events, places_of
from mtl.ui.context import Context, spoken
from mtl.ui.corpus_input import corpus_of, create_corpus_input
from mtl.ui.map_plot import scatter
from mtl.ui.render_map import map_note, place_note, search_note

FLAT, DEEP = "2-D", "3-D"
NO_OTHER = "(one model)"
FORMATS = ("CSV", "JSONL with vectors", "Parquet with vectors", "Figure (HTML)")
STALE = "This map was drawn with another model; press **Draw the map**."
HINT = "Click a point for its neighbours; drag around some for a report; double-click to let them go."


@dataclass(frozen=True)
class View:
    """What a page shows: the map, perhaps the same sentences by a second model, and which points are marked."""

    points: MapPoints | None = None
    other: MapPoints | None = None
    marked: tuple[int, ...] = ()


def create_map_tab(context: Context) -> None:
    """Fills the tab that is open; the sample map is drawn when the page loads."""
    service = context.service
    maps = service.maps

    @spoken
    def draw(
        key: str,
        model: str,
        colour: str | None,
        dims: str,
        other: str | None,
        *corpus: object,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio looks for it here
    ) -> Iterator[tuple[object, ...]]:
        texts = corpus_of(service.corpora, corpus)
        n_dims: Dims = 2 if dims == FLAT else 3
        first = maps.read(key, model, texts, on_progress=lambda share: progress(share, desc="Reading"))
        yield shown(View(first if n_dims == 2 else None), colour, map_note(first, "UMAP follows …"))
        final = maps.refine(first, n_dims)
        if not other or other == NO_OTHER:
            yield shown(View(final), colour, map_note(final))
            return
        second = maps.refine(maps.read(key, other, texts), n_dims)
        kept = regions.drift(final, second)
        values = [f"{share:.2f}" for share in kept]
        view = View(final.with_column(regions.KEPT, values), second.with_column(regions.KEPT, values))
        note = map_note(final) + f" By **{other}** sentences keep {kept.mean():.0%} of their nearest ones."
        yield shown(view, regions.KEPT, note)

    def shown(view: View, colour: str | None, note: str) -> tuple[object, ...]:
        """Both figures, the note, the choice of colours, the view, and no report yet."""
        columns = list(view.points.corpus.columns) if view.points else []
        chosen = colour if colour in columns else next(iter(columns), None)
        return (*figures(view, chosen), note, gr.update(choices=columns, value=chosen), view, HINT)

    def figures(view: View, colour: str | None, placed: object = None) -> tuple[object, ...]:
        """The map, and the second one where there is one."""
        if view.points is None:
            return gr.skip(), gr.skip()
        title = view.points.model if view.other else ""
        first = scatter(view.points, colour, marked=view.marked, title=title, placed=placed)  # type: ignore[arg-type]
        if view.other is None:
            return first, gr.update(visible=False, value=None)
        second = scatter(view.other, colour, marked=view.marked, title=view.other.model)
        return first, gr.update(visible=True, value=second)

    @spoken
    def recolour(view: View, colour: str | None) -> tuple[object, ...]:
        return figures(view, colour)

    @spoken
    def cluster(view: View) -> tuple[object, ...]:
        points = regions.clustered(drawn(view.points))
        other = view.other and regions.with_clusters_of(view.other, points)
        return shown(replace(view, points=points, other=other), regions.CLUSTER, map_note(points))[:-1]

    @spoken
    def find(key: str, view: View, colour: str | None, query: str) -> tuple[object, ...]:
        found = maps.find(key, view.points, query)
        view = replace(view, marked=found.places)
        return *figures(view, colour), search_note(found, query), view

    @spoken
    def place(key: str, model: str, view: View, colour: str | None, text: str) -> tuple[object, ...]:
        placed = maps.place(key, model, view.points, text)
        return *figures(view, colour, placed), place_note(placed)

    @spoken
    def report(view: View, colour: str | None, event: str) -> object:
        """A click: the neighbours of a point. A lasso: what lies in it, marked on the second map too."""
        points = drawn(view.points)
        clicked, chosen = places_of(event, "click"), places_of(event, "select")
        if clicked:
            near = regions.neighbours(points, clicked[0])
            title = f"Nearest to: {points.corpus.texts[clicked[0]][:200]}"
            return render_reading.neighbours(near, title), gr.skip(), gr.skip(), gr.skip()
        if not chosen:
            return gr.skip()
        view = replace(view, marked=tuple(chosen))
        drawings = figures(view, colour) if view.other else (gr.skip(), gr.skip())
        return render_reading.region(regions.region(points, chosen)), view, *drawings

    @spoken
    def download(view: View, colour: str | None, form: str) -> object:
        points = drawn(view.points)
        if form == FORMATS[3]:
            path = place_for("map.html")
            figure: go.Figure = scatter(points, colour, marked=view.marked)
            figure.write_html(path, include_plotlyjs=True)
        else:
            path = place_for({"C": "map.csv", "J": "map.jsonl", "P": "map.parquet"}[form[0]])
            write_rows(path, regions.rows(points, vectors=form != FORMATS[0]))
        return gr.update(value=str(path), visible=True)

    def offer_models(key: str, model: str) -> object:
        return gr.update(choices=[NO_OTHER, *(name for name in service.models.names(key) if name != model)])

    corpus = create_corpus_input(service.corpora, "map")
    with gr.Row():
        colour = gr.Dropdown([], label="Colour by", min_width=200, elem_id="map-colour")
        dims = gr.Radio([FLAT, DEEP], value=FLAT, label="Dimensions", min_width=140, elem_id="map-dims")
        other = gr.Dropdown(
            [NO_OTHER], value=NO_OTHER, label="Beside a second model", min_width=200, elem_id="map-other"
        )
    with gr.Row():
        button = gr.Button("Draw the map", variant="primary", elem_id="map-go")
        grouped = gr.Button("Find clusters", elem_id="map-cluster")
    with gr.Row():
        plot = gr.Plot(label="Map of sentences", elem_id="map-plot", min_width=320)
        second = gr.Plot(label="The same by the second model", elem_id="map-plot-2", visible=False, min_width=320)
    note = gr.Markdown("The sample map follows …", elem_id="map-note")
    with gr.Row():
        query = gr.Textbox(label="Find words, or what means them", max_lines=1, submit_btn=True, elem_id="map-find")
        sentence = gr.Textbox(
            label="Place a sentence on this map", max_lines=3, elem_id="map-sentence", submit_btn=True
        )
    details = gr.HTML(HINT, elem_id="map-report")
    with gr.Row():
        form = gr.Dropdown(list(FORMATS), value=FORMATS[0], label="Take the map with you", elem_id="map-format")
        get = gr.Button("Prepare the download", elem_id="map-download")
    file = gr.File(label="Your map", visible=False, elem_id="map-file-out")
    view = gr.State(View())
    events = figure_events("map-plot")

    inputs = [*context.who, colour, dims, other, *corpus.fields]
    both = [plot, second]
    outputs = [*both, note, colour, view, details]
    button.click(draw, inputs, outputs, api_name="map", show_progress_on=[note])
    context.ready.then(draw, inputs, outputs, api_name=False, show_progress="hidden")
    other.focus(offer_models, context.who, other, api_name=False, show_progress="hidden")
    context.model.input(lambda: STALE, None, note, api_name=False, queue=False)
    grouped.click(cluster, view, outputs[:-1], api_name="clusters", show_progress_on=[note])
    colour.input(recolour, [view, colour], both, api_name=False)
    query.submit(find, [context.session, view, colour, query], [*both, note, view], api_name="find")
    sentence.submit(place, [*context.who, view, colour, sentence], [*both, note], api_name="place")
    events.change(report, [view, colour, events], [details, view, *both], api_name=False, show_progress="hidden")
    get.click(download, [view, colour, form], file, api_name="download_map")
