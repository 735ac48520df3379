"""Plotly figures that read well in light and dark: transparent grounds, mid-grey ink."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from mtl.evaluation.benchmark import Results
from mtl.inference.explain import Alignment
from mtl.service.similarity import Matrix
from mtl.training.verdict import SharingReport
from mtl.ui.theme import POINT_COLOURS

INK = "#808690"
GRID = "rgba(128,134,144,.22)"
MAX_GROUPS = len(POINT_COLOURS)
SYMBOLS = ("circle", "diamond", "square", "cross")


def heat_map(matrix: Matrix) -> go.Figure:
    """Cosines of a list with itself, or with another one; numbers are printed while there is room."""
    names = [plain(f"{place + 1}. {short(text, 22)}") for place, text in enumerate(matrix.texts)]
    across = matrix.across or matrix.texts
    scores = np.round(matrix.scores.astype(float), 3)
    few = max(len(names), len(across)) <= 12
    figure = go.Figure(
        go.Heatmap(
            z=scores,
            x=[str(place + 1) for place in range(len(across))],
            y=names,
            zmin=0,
            zmax=1,
            colorscale="Blues",
            texttemplate="%{z:.2f}" if few else None,
            customdata=[[f"{wrap(a)}<br>—<br>{wrap(b)}" for b in across] for a in matrix.texts],
            hovertemplate="%{z:.3f}<br>%{customdata}<extra></extra>",
            colorbar={"thickness": 12, "tickfont": {"color": INK}},
        )
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(side="top", type="category")
    return styled(figure, height=max(320, 110 + 26 * len(names)))


def alignment(found: Alignment) -> go.Figure:
    """Words of one sentence with words of another: how alike they are here."""
    names = [
        [plain(f"{place + 1}. {short(word, 18)}") for place, word in enumerate(w)] for w in (found.left, found.right)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=np.round(found.cosines.astype(float), 3),
            x=names[1],
            y=names[0],
            zmin=0,
            zmax=1,
            colorscale="Blues",
            customdata=np.round(found.shares.astype(float), 4).tolist(),
            hovertemplate="%{y} — %{x}<br>cosine here %{z:.2f}, adds %{customdata:.3f} to the score<extra></extra>",
            colorbar={"thickness": 12, "tickfont": {"color": INK}},
        )
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(automargin=True, tickangle=-40)
    return styled(figure, height=max(260, 130 + 24 * len(names[0])))


def sharing(found: SharingReport) -> go.Figure:
    """Each arm's score on each test set, with its limits; the shared model is drawn largest."""
    figure = go.Figure()
    rows = list(dict.fromkeys((s.task, s.source) for s in found.scores))
    names = {
        (task, source): f"{plain(task)}<br><i>{plain(source)}</i>" if source else f"<b>{plain(task)}</b>"
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
    return styled(figure, height=190 + 46 * len(rows))


def styled(figure: go.Figure, *, height: int) -> go.Figure:
    """The figure with grounds, ink and margins that suit light and dark."""
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


def short(text: str, limit: int) -> str:
    """At most so many characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def plain(text: str) -> str:
    """Plotly reads tags in labels: a typed one must stay text."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def wrap(text: str, width: int = 60, lines: int = 6) -> str:
    """A text in lines, as Plotly breaks them."""
    rows, row = [], ""
    for word in short(text, width * lines).split():
        if row and len(row) + len(word) >= width:
            rows.append(row)
            row = ""
        row = f"{row} {word}".strip()
    return "<br>".join(plain(part) for part in [*rows, row])


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
    return styled(figure, height=420)
