"""The map as a Plotly figure: groups or a scale of colours, in two or three dimensions, with some points marked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import plotly.graph_objects as go

from mtl.service.maps import MapPoints, Placed
from mtl.ui.plots import INK, MAX_GROUPS, plain, short, styled, wrap
from mtl.ui.theme import POINT_COLOURS

MIN_SCALE = 13
"""A column of numbers with at least so many different ones is shown as a scale."""
FAINT = 0.08
SCALE = "Viridis"


def scatter(
    points: MapPoints,
    colour_by: str | None,
    *,
    placed: Placed | None = None,
    marked: Collection[int] = (),
    title: str = "",
) -> go.Figure:
    """A corpus as points; hovering shows the sentence. Beyond a dozen values the rarest share one colour.

    A text that was `placed` is a star; where points are `marked`, the others are faint.
    """
    values = points.corpus.columns.get(colour_by or "", ("sentences",) * len(points.corpus.texts))
    numbers = _numbers(values)
    figure = go.Figure()
    shown = _hover(points, values)
    marked = frozenset(marked)
    if numbers is not None:
        _add(figure, points, range(len(values)), shown, marked, name=colour_by or "", colour=numbers)
    else:
        for place, (name, rows) in enumerate(_groups(values)):
            colour = POINT_COLOURS[place % MAX_GROUPS]
            _add(figure, points, rows, shown, marked, name=plain(short(name, 28)) or "(blank)", colour=colour)
    if placed is not None:
        figure.add_trace(_star(placed))
    legend = {"orientation": "h", "y": -0.04, "yanchor": "top", "font": {"color": INK}, "itemsizing": "constant"}
    figure.update_layout(legend=legend, dragmode="lasso" if points.points.shape[1] == 2 else "orbit", title=title)
    figure.update_xaxes(showticklabels=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, zeroline=False)
    bare = {
        "showticklabels": False,
        "title": "",
        "backgroundcolor": "rgba(0,0,0,0)",
        "gridcolor": "rgba(128,134,144,.3)",
    }
    figure.update_layout(scene={"xaxis": bare, "yaxis": bare, "zaxis": bare})
    return styled(figure, height=620)


def _add(
    figure: go.Figure,
    points: MapPoints,
    rows: Sequence[int],
    shown: Sequence[str],
    marked: Collection[int],
    *,
    name: str,
    colour: str | Sequence[float],
) -> None:
    """One group of points; in three dimensions what is not marked is a trace of its own."""
    chosen = [place for place, row in enumerate(rows) if row in marked] if marked else None
    flat = points.points.shape[1] == 2
    marker: dict[str, object] = {"size": 8 if flat else 3.5, "opacity": 0.82, "color": colour}
    if not isinstance(colour, str):
        marker.update(
            colorscale=SCALE,
            showscale=True,
            colorbar={"thickness": 12, "title": plain(name), "tickfont": {"color": INK}},
            cmin=min(colour),
            cmax=max(colour),
        )
    where = points.points[list(rows)].astype(float).round(4)
    common = {
        "mode": "markers",
        "name": name,
        "showlegend": isinstance(colour, str),
        "text": [shown[row] for row in rows],
        "customdata": list(rows),
        "hovertemplate": "%{text}<extra></extra>",
    }
    if flat:
        faint = {"marker": {"opacity": FAINT}}
        figure.add_scattergl(
            x=where[:, 0], y=where[:, 1], marker=marker, selectedpoints=chosen, unselected=faint, **common
        )
        return
    if chosen is not None:
        marker["opacity"] = FAINT
    figure.add_scatter3d(x=where[:, 0], y=where[:, 1], z=where[:, 2], marker=marker, **common)
    if chosen:
        bright = {**marker, "opacity": 1, "size": 5}
        if not isinstance(colour, str):
            bright.update(color=[colour[place] for place in chosen], showscale=False)
        kept = {**common, "showlegend": False, "text": [shown[rows[p]] for p in chosen]}
        kept["customdata"] = [rows[place] for place in chosen]
        figure.add_scatter3d(x=where[chosen, 0], y=where[chosen, 1], z=where[chosen, 2], marker=bright, **kept)


def _star(placed: Placed) -> go.Scattergl | go.Scatter3d:
    flat = len(placed.point) == 2
    look = {"size": 18, "symbol": "star", "color": "#d62728", "line": {"width": 1, "color": "white"}}
    common = {
        "mode": "markers",
        "name": "your sentence",
        "text": [wrap(placed.text)],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": look if flat else {"size": 8, "symbol": "diamond", "color": "#d62728"},
    }
    where = {axis: [float(value)] for axis, value in zip("xyz", placed.point, strict=False)}
    return go.Scattergl(**where, **common) if flat else go.Scatter3d(**where, **common)


def _groups(values: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The rows of each value, most frequent first; the rarest together where there are too many."""
    rows: dict[str, list[int]] = {}
    for place, value in enumerate(values):
        rows.setdefault(value, []).append(place)
    ranked = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
    if len(ranked) <= MAX_GROUPS:
        return ranked
    rest = sorted(place for _, own in ranked[MAX_GROUPS - 1 :] for place in own)
    return [*ranked[: MAX_GROUPS - 1], ("other values", rest)]


def _numbers(values: Sequence[str]) -> list[float] | None:
    """The values as numbers, where they all are and there are many."""
    if len(set(values)) < MIN_SCALE:
        return None
    try:
        found = [float(value) for value in values]
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def _hover(points: MapPoints, values: Sequence[str]) -> list[str]:
    return [
        f"{wrap(text)}<br><i>{plain(short(value, 60))}</i>"
        for text, value in zip(points.corpus.texts, values, strict=True)
    ]
