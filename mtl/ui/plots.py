"""Plotly figures that read well in light and dark: transparent grounds, mid-grey ink."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from mtl.evaluation.benchmark import Results
from mtl.service.runs import RunRecord
from mtl.service.service import MapPoints, Matrix, Placed
from mtl.training.verdict import SharingReport
from mtl.ui.theme import POINT_COLOURS

INK = "#808690"
GRID = "rgba(128,134,144,.22)"
MAX_GROUPS = len(POINT_COLOURS)
SYMBOLS = ("circle", "diamond", "square", "cross")


def heat_map(matrix: Matrix) -> go.Figure:
    """Cosines of a list with itself; numbers are printed while there is room."""
    names = [_plain(f"{place + 1}. {_short(text, 22)}") for place, text in enumerate(matrix.texts)]
    scores = np.round(matrix.scores.astype(float), 3)
    few = len(names) <= 12
    figure = go.Figure(
        go.Heatmap(
            z=scores,
            x=[str(place + 1) for place in range(len(names))],
            y=names,
            zmin=0,
            zmax=1,
            colorscale="Blues",
            texttemplate="%{z:.2f}" if few else None,
            customdata=[[f"{_wrap(a)}<br>—<br>{_wrap(b)}" for b in matrix.texts] for a in matrix.texts],
            hovertemplate="%{z:.3f}<br>%{customdata}<extra></extra>",
            colorbar={"thickness": 12, "tickfont": {"color": INK}},
        )
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(side="top", type="category")
    return _styled(figure, height=max(320, 110 + 26 * len(names)))


def scatter(points: MapPoints, colour_by: str | None, placed: Placed | None = None) -> go.Figure:
    """A corpus as points; hovering shows the sentence. Beyond a dozen values the rarest share one colour.

    A text that was `placed` is a star.
    """
    values = points.corpus.columns.get(colour_by or "", ("sentences",) * len(points.corpus.texts))
    frequent = sorted(set(values), key=lambda v: (-values.count(v), v))
    named = frequent if len(frequent) <= MAX_GROUPS else frequent[: MAX_GROUPS - 1]
    figure = go.Figure()
    groups = [(name, [i for i, value in enumerate(values) if value == name]) for name in named]
    others = [i for i, value in enumerate(values) if value not in set(named)]
    for place, (name, rows) in enumerate([*groups, *([("other values", others)] if others else [])]):
        figure.add_scattergl(
            x=points.points[rows, 0].astype(float).round(4),
            y=points.points[rows, 1].astype(float).round(4),
            mode="markers",
            name=_plain(_short(name, 28) or "(blank)"),
            marker={"size": 8, "opacity": 0.82, "color": POINT_COLOURS[place % MAX_GROUPS]},
            text=[f"{_wrap(points.corpus.texts[i])}<br><i>{_plain(_short(values[i], 60))}</i>" for i in rows],
            hovertemplate="%{text}<extra></extra>",
        )
    if placed is not None:
        figure.add_scattergl(
            x=[float(placed.point[0])],
            y=[float(placed.point[1])],
            mode="markers",
            name="your sentence",
            marker={"size": 18, "symbol": "star", "color": "#d62728", "line": {"width": 1, "color": "white"}},
            text=[_wrap(placed.text)],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(legend={"orientation": "h", "y": -0.04, "yanchor": "top", "font": {"color": INK}})
    figure.update_xaxes(showticklabels=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, zeroline=False)
    return _styled(figure, height=620)


def loss_curve(run: RunRecord | None) -> go.Figure:
    """Training loss of each head as it is, faint, and smoothed; validation scores on the right axis."""
    figure = go.Figure()
    steps = run.steps if run else []
    names = list(dict.fromkeys(name for step in steps for name in step.losses))
    for place, name in enumerate(names):
        x = [step.step for step in steps if name in step.losses]
        y = [step.losses[name] for step in steps if name in step.losses]
        colour = POINT_COLOURS[place % MAX_GROUPS]
        figure.add_scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 1}, opacity=0.35, showlegend=False)
        figure.add_scatter(x=x, y=_smooth(y), mode="lines", line={"color": colour, "width": 2.4}, name=f"loss {name}")
    scores = run.evaluations if run else []
    if scores:
        figure.add_scatter(
            x=[e.step for e in scores],
            y=[e.composite for e in scores],
            yaxis="y2",
            mode="lines+markers",
            line={"color": INK, "dash": "dot"},
            name="validation score",
        )
    right = {"overlaying": "y", "side": "right", "range": [0, 1.02], "showgrid": False, "color": INK}
    figure.update_layout(yaxis2={**right, "title": "score"}, legend={"orientation": "h", "y": -0.22, "yanchor": "top"})
    figure.update_xaxes(title="step", rangemode="tozero")
    figure.update_yaxes(title="loss", rangemode="tozero", selector={"overlaying": None})
    return _styled(figure, height=370)


def sharing(found: SharingReport) -> go.Figure:
    """Each arm's score on each test set, with its limits; the shared model is drawn largest."""
    figure = go.Figure()
    rows = list(dict.fromkeys((s.task, s.source) for s in found.scores))
    names = {
        (task, source): f"{_plain(task)}<br><i>{_plain(source)}</i>" if source else f"<b>{_plain(task)}</b>"
        for task, source in rows
    }
    arms = list(dict.fromkeys(score.arm for score in found.scores))
    for place, arm in enumerate(arms):
        mine = [score for score in found.scores if score.arm == arm]
        values = [score.interval for score in mine]
        figure.add_scatter(
            x=[round(v.value, 4) for v in values],
            y=[names[s.task, s.source] for s in mine],
            error_x={
                "array": [round(v.high - v.value, 4) for v in values],
                "arrayminus": [round(v.value - v.low, 4) for v in values],
                "thickness": 1.2,
                "width": 3,
            },
            mode="markers",
            orientation="h",  # arms of one row stand below each other
            marker={"size": 12 if place == 0 else 8, "color": POINT_COLOURS[place], "symbol": SYMBOLS[place]},
            name=arm,
            text=[score.metric for score in mine],
            hovertemplate=f"{arm}<br>%{{text}} %{{x:.3f}}<extra></extra>",
        )
    figure.update_yaxes(range=[len(rows) - 0.35, -0.65], automargin=True)  # from the top, each row whole
    ends = [end for score in found.scores for end in (score.interval.low, score.interval.high)]
    figure.update_xaxes(title="score on test sets", range=[min(ends) - 0.02, max(ends) + 0.02])
    figure.update_layout(scattermode="group", legend={"orientation": "h", "y": -0.14, "yanchor": "top"})
    return _styled(figure, height=190 + 46 * len(rows))


def _styled(figure: go.Figure, *, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 12, "r": 12, "t": 48, "b": 24},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK, "size": 12},
        hoverlabel={"align": "left"},
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID)
    return figure


def _smooth(values: Sequence[float], keep: float = 0.8) -> list[float]:
    """An exponential mean without the bias of its start."""
    smooth, mean = [], 0.0
    for place, value in enumerate(values):
        mean = keep * mean + (1 - keep) * value
        smooth.append(mean / (1 - keep ** (place + 1)))
    return smooth


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _plain(text: str) -> str:
    """Plotly reads tags in labels: a typed one must stay text."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _wrap(text: str, width: int = 60, lines: int = 6) -> str:
    rows, row = [], ""
    for word in _short(text, width * lines).split():
        if row and len(row) + len(word) >= width:
            rows.append(row)
            row = ""
        row = f"{row} {word}".strip()
    return "<br>".join(_plain(part) for part in [*rows, row])


def benchmark_figure(found: Results) -> go.Figure:
    """Bars of texts a second, the median of the rounds, one group a case."""
    cases = {
        case: {name: np.median([run["texts_per_s"] for run in runs]) for name, runs in contenders.items()}
        for case, contenders in found.measured.items()
        if all(run.get("texts_per_s") for runs in contenders.values() for run in runs)
    }
    names = list(dict.fromkeys(name for contenders in cases.values() for name in contenders))
    figure = go.Figure(
        [
            go.Bar(
                name=name,
                x=list(cases),
                y=[cases[case].get(name) for case in cases],
                marker_color=POINT_COLOURS[place % MAX_GROUPS],
                hovertemplate="%{x}: %{y:.0f} texts a second<extra>" + name + "</extra>",
            )
            for place, name in enumerate(names)
        ]
    )
    figure.update_layout(barmode="group", yaxis_title="texts a second", legend={"orientation": "h", "y": -0.15})
    return _styled(figure, height=420)
