"""What the buttons of the map tab do: read the fields, ask the service, hand over figures and words.

Maps lie on the service's shelf; a page holds a ticket for its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import gradio as gr
import plotly.graph_objects as go

from mtl.errors import SessionError
from mtl.inference.export import write_rows
from mtl.service import regions
from mtl.service.downloads import place_for
from mtl.service.maps import Dims, MapView, Placed
from mtl.service.service import Service
from mtl.ui import render_reading
from mtl.ui.bridge import is_release, places_of
from mtl.ui.corpus_input import corpus_of
from mtl.ui.map_plot import scatter
from mtl.ui.render_map import cluster_note, map_note, place_note, search_note

FLAT, DEEP = "2-D", "3-D"
NO_OTHER = "(one model)"
FORMATS = {
    "CSV": "map.csv",
    "JSONL with vectors": "map.jsonl",
    "Parquet with vectors": "map.parquet",
    "Figure (HTML)": "map.html",
}
HINT = "Click a point for its neighbours; drag around some for a report; double-click to let them go."
HINT_3D = "Click a point for its neighbours; turn the map by dragging."

Shown = tuple[object, ...]
TICKET = 4
"""Where in what a drawing shows its ticket is."""


class MapHandlers:
    """One method a button; `ticket` is of the map that the page shows, `marked` are the places it marks."""

    def __init__(self, service: Service) -> None:
        self.service, self.maps = service, service.maps

    def draw(
        self,
        key: str,
        model: str,
        colour: str | None,
        dims: str,
        other: str | None,
        *corpus: object,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio looks for it here
    ) -> Iterator[Shown]:
        """PCA at once, UMAP after it, and beside it the same by a second model with what drifted."""
        texts = corpus_of(self.service.corpora, corpus)
        n_dims: Dims = 2 if dims == FLAT else 3
        first = self.maps.read(key, model, texts, on_progress=lambda share: progress(share, desc="Reading"))
        if n_dims == 2:
            early = self._shown(key, MapView(first), colour, map_note(first, "UMAP follows …"))
            yield early
            self.maps.shelf.drop(str(early[TICKET]))
        final = self.maps.refine(first, n_dims)
        if not other or other == NO_OTHER:
            yield self._shown(key, MapView(final), colour, map_note(final))
            return
        second = self.maps.refine(self.maps.read(key, other, texts), n_dims)
        view, kept = regions.side_by_side(final, second)
        note = f"{map_note(final)} By **{other}** sentences keep {kept:.0%} of their nearest ones."
        yield self._shown(key, view, regions.KEPT, note)

    def cluster(self, ticket: str | None) -> Shown:
        """Groups of the map as a colour."""
        view = regions.clustered(self._view(ticket))
        owner = self.maps.shelf.owner(str(ticket))
        return self._shown(owner, view, regions.CLUSTER, f"{map_note(view.points)} {cluster_note(view.points)}")

    def recolour(self, ticket: str | None, marked: Sequence[int], colour: str | None) -> Shown:
        """The same map in other colours."""
        return gr.skip() if ticket is None else self._figures(self._view(ticket), marked, colour)

    def find(self, key: str, ticket: str | None, colour: str | None, query: str) -> Shown:
        """Marks what holds the words, or means them."""
        view = self._view(ticket)
        found = self.maps.find(key, view.points, query)
        return *self._figures(view, found.places, colour), search_note(found, query), list(found.places)

    def place(
        self, key: str, model: str, ticket: str | None, marked: Sequence[int], colour: str | None, text: str
    ) -> Shown:
        """Puts one more sentence on the map."""
        view = self._view(ticket)
        placed = self.maps.place(key, model, view.points, text)
        return *self._figures(view, marked, colour, placed), place_note(placed)

    def report(self, ticket: str | None, colour: str | None, event: str) -> Shown:
        """A click: the neighbours of a point. A lasso: what lies in it, marked on the second map too. Or neither."""
        view = self._view(ticket)
        if is_release(event):
            return HINT, [], map_note(view.points), *self._figures(view, (), colour)
        clicked, chosen = places_of(event, "click"), places_of(event, "select")
        if clicked:
            near = regions.neighbours(view.points, clicked[0])
            title = f"Nearest to: {view.points.corpus.texts[clicked[0]][:200]}"
            return render_reading.neighbours(near, title), *[gr.skip()] * 4
        found = regions.region(view.points, chosen, colour)
        figures = self._figures(view, chosen, colour) if view.other else (gr.skip(), gr.skip())
        return render_reading.region(found), chosen, map_note(view.points), *figures

    def download(self, ticket: str | None, marked: Sequence[int], colour: str | None, form: str) -> object:
        """The map as a file."""
        view = self._view(ticket)
        path = place_for(FORMATS[form])
        if path.suffix == ".html":
            figure: go.Figure = scatter(view.points, colour, marked=marked)
            figure.write_html(path, include_plotlyjs=True)
        else:
            write_rows(path, regions.rows(view.points, vectors=path.suffix != ".csv"))
        return gr.update(value=str(path), visible=True)

    def offer_models(self, key: str, model: str) -> object:
        """The other models of this session."""
        return gr.update(choices=[NO_OTHER, *(name for name in self.service.models.names(key) if name != model)])

    def _view(self, ticket: str | None) -> MapView:
        if ticket is None:
            raise SessionError("There is no map yet; draw one first.")
        return self.maps.shelf.get(ticket)

    def _shown(self, owner: str, view: MapView, colour: str | None, note: str) -> Shown:
        """Both figures, the note, the choice of colours, the ticket, nothing marked, and no report yet."""
        columns = list(view.points.corpus.columns)
        chosen = colour if colour in columns else next(iter(columns), None)
        ticket = self.maps.keep(view, owner)
        figures = self._figures(view, (), chosen)
        hint = HINT if view.points.points.shape[1] == 2 else HINT_3D
        return *figures, note, gr.update(choices=columns, value=chosen), ticket, [], hint

    def _figures(self, view: MapView, marked: Sequence[int], colour: str | None, placed: Placed | None = None) -> Shown:
        """The map, and the second one where there is one."""
        title = view.points.model if view.other else ""
        first = scatter(view.points, colour, marked=marked, title=title, placed=placed)
        if view.other is None:
            return first, gr.update(visible=False, value=None)
        return first, gr.update(visible=True, value=scatter(view.other, colour, marked=marked, title=view.other.model))
