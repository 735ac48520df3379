"""Figures of a training run: losses, scores, weights, conflicts, runs over each other, sentences before and after."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mtl.service.aftermath import MovedMap
from mtl.service.runs import RunRecord
from mtl.service.sessions import Tuned
from mtl.training.events import ConflictMeasured, StepEnded
from mtl.ui.plots import INK, MAX_GROUPS, plain, short, styled, wrap
from mtl.ui.theme import POINT_COLOURS

HEIGHT = 320
LEGEND = {"orientation": "h", "y": -0.24, "yanchor": "top"}
RETENTION = "kept vectors"
DRAWN_STEPS = 400
"""Points of a curve: more are not seen, and are sent to the page again and again."""


def live(run: RunRecord | None) -> tuple[go.Figure | None, ...]:
    """Raw losses, validation scores, conflicts, weights of the losses; None for what there is nothing of."""
    return losses(run), scores(run), conflict(run), weights(run)


def losses(run: RunRecord | None) -> go.Figure:
    """The raw loss of each head as it is, faint, and smoothed; dots on rows that were put aside."""
    figure = go.Figure()
    steps = run.steps if run else []
    series = _by_task(steps, lambda step: step.losses)
    kept = [(step.step, step.retention) for step in steps if step.retention is not None]
    held: dict[str, list[tuple[int, float]]] = {}
    for found in run.evaluations if run else []:
        for score in found.scores:
            if score.loss is not None:
                held.setdefault(score.task, []).append((found.step, score.loss))
    for place, (name, points) in enumerate(series.items()):
        colour = POINT_COLOURS[place % MAX_GROUPS]
        x, y = zip(*_thinned(points), strict=True)
        figure.add_scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 1}, opacity=0.35, showlegend=False)
        smooth = list(zip([p[0] for p in points], _smooth([p[1] for p in points]), strict=True))
        x, y = zip(*_thinned(smooth), strict=True)
        figure.add_scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 2.4}, name=plain(name))
        if name in held:
            x, y = zip(*held[name], strict=True)
            dot = {"color": colour, "size": 8, "line": {"color": INK, "width": 1}}
            figure.add_scatter(x=x, y=y, mode="markers", marker=dot, name=plain(f"{name}, put aside"), showlegend=False)
    if kept:
        x, y = zip(*_thinned(kept), strict=True)
        figure.add_scatter(x=x, y=y, mode="lines", line={"color": INK, "dash": "dash", "width": 1.5}, name=RETENTION)
    figure.update_layout(legend=LEGEND)
    figure.update_xaxes(title="step", rangemode="tozero")
    figure.update_yaxes(title="raw loss", rangemode="tozero")
    return styled(figure, height=HEIGHT)


def scores(run: RunRecord | None) -> go.Figure | None:
    """The main metric of each head on rows that were put aside."""
    found = run.evaluations if run else []
    if not found:
        return None
    figure = go.Figure()
    order = list(_by_task(run.steps if run else [], lambda step: step.losses))
    names = list(dict.fromkeys(score.task for one in found for score in one.scores))
    for name in names:
        place = order.index(name) if name in order else len(order) + names.index(name)
        points = [(one.step, s.primary) for one in found for s in one.scores if s.task == name]
        x, y = zip(*points, strict=True)
        line = {"color": POINT_COLOURS[place % MAX_GROUPS], "width": 2.4}
        figure.add_scatter(x=x, y=y, mode="lines+markers", line=line, name=plain(name))
    if len(names) > 1:
        figure.add_scatter(
            x=[one.step for one in found],
            y=[one.composite for one in found],
            mode="lines",
            line={"color": INK, "dash": "dot"},
            name="mean",
        )
    figure.update_layout(legend=LEGEND)
    figure.update_xaxes(title="step", rangemode="tozero")
    figure.update_yaxes(title="score on rows put aside", range=[0, 1.02])
    return styled(figure, height=HEIGHT)


def weights(run: RunRecord | None) -> go.Figure | None:
    """What each loss counts; None where all count 1."""
    series = _by_task(run.steps if run else [], lambda step: step.weights)
    if all(value == 1 for points in series.values() for _, value in points):
        return None
    figure = go.Figure()
    for place, (name, points) in enumerate(series.items()):
        x, y = zip(*_thinned(points), strict=True)
        line = {"color": POINT_COLOURS[place % MAX_GROUPS], "width": 2.4}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, name=plain(name))
    figure.update_layout(legend=LEGEND)
    figure.update_xaxes(title="step", rangemode="tozero")
    figure.update_yaxes(title="weight of the loss", rangemode="tozero")
    return styled(figure, height=HEIGHT)


def conflict(run: RunRecord | None) -> go.Figure | None:
    """How far the gradients of two tasks point the same way, pair by pair and part by part, as last measured."""
    found = [event for event in run.events if isinstance(event, ConflictMeasured)] if run else []
    if not found:
        return None
    last = found[-1]
    pairs = [plain(f"{pair.left} · {pair.right}") for pair in last.conflict.pairs]
    values = [[None if math.isnan(v) else round(v, 3) for v in pair.cosines] for pair in last.conflict.pairs]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=list(last.conflict.parts),
            y=pairs,
            zmin=-1,
            zmax=1,
            colorscale="RdBu",
            texttemplate="%{z:.2f}" if len(pairs) * len(last.conflict.parts) <= 48 else None,
            hovertemplate="%{y}<br>%{x}: cosine %{z:.2f}<extra></extra>",
            colorbar={"thickness": 12, "tickfont": {"color": INK}, "tickvals": [-1, 0, 1]},
        )
    )
    figure.update_yaxes(automargin=True)
    figure.update_xaxes(automargin=True, tickangle=-40)
    figure.update_layout(title={"text": f"after step {last.step}: red pull apart", "font": {"size": 12}})
    return styled(figure, height=max(240, 140 + 26 * len(pairs)))


def runs(found: Mapping[str, Tuned]) -> go.Figure | None:
    """The score of each run of a session by step, over each other; None before there are two."""
    scored = {name: tuned.run.evaluations for name, tuned in found.items() if tuned.run.evaluations}
    if len(scored) < 2:
        return None
    figure = go.Figure()
    for place, (name, evaluations) in enumerate(scored.items()):
        figure.add_scatter(
            x=[one.step for one in evaluations],
            y=[one.composite for one in evaluations],
            mode="lines+markers",
            line={"color": POINT_COLOURS[place % MAX_GROUPS], "width": 2.4},
            name=plain(name),
        )
    figure.update_layout(legend=LEGEND)
    figure.update_xaxes(title="step", rangemode="tozero")
    figure.update_yaxes(title="mean score on rows put aside", range=[0, 1.02])
    return styled(figure, height=HEIGHT)


def moved(found: MovedMap) -> go.Figure:
    """Your rows by their label, and samples in grey, before and after: the axes are the same."""
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=("before", "after"), shared_yaxes=True, horizontal_spacing=0.03
    )
    groups = list(dict.fromkeys(["", *found.moved.groups]))
    place_of = np.array([groups.index(group) for group in found.moved.groups])
    for column, points in enumerate((found.before, found.after), start=1):
        for number, group in enumerate(groups):
            mine = np.flatnonzero(place_of == number)
            grey = group == ""
            figure.add_scattergl(
                x=np.round(points[mine, 0], 3),
                y=np.round(points[mine, 1], 3),
                mode="markers",
                marker={
                    "size": 5 if grey else 7,
                    "color": INK if grey else POINT_COLOURS[(number - 1) % MAX_GROUPS],
                    "opacity": 0.35 if grey else 0.9,
                },
                name="samples" if grey else plain(short(group, 24)),
                legendgroup=group or "samples",
                showlegend=column == 1 and len(mine) > 0,
                text=[wrap(found.moved.texts[i]) for i in mine],
                hovertemplate="%{text}<extra></extra>",
                row=1,
                col=column,
            )
    both = np.concatenate([found.before, found.after])
    low, high = both.min(0), both.max(0)
    pad = (high - low) * 0.04
    figure.update_xaxes(range=[low[0] - pad[0], high[0] + pad[0]], showticklabels=False)
    figure.update_yaxes(range=[low[1] - pad[1], high[1] + pad[1]], showticklabels=False)
    figure.update_layout(legend={**LEGEND, "y": -0.05}, title={"text": f"by {found.method}", "font": {"size": 12}})
    return styled(figure, height=440)


def _by_task(
    steps: Sequence[StepEnded], values: Callable[[StepEnded], Mapping[str, float]]
) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for step in steps:
        for name, value in values(step).items():
            found.setdefault(name, []).append((step.step, value))
    return found


def _thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """At most `DRAWN_STEPS` of the points, the last one among them."""
    every = -(-len(points) // DRAWN_STEPS)
    return [*points[:-1:every], points[-1]] if every > 1 else points


def _smooth(values: Sequence[float], keep: float = 0.8) -> list[float]:
    """An exponential mean without the bias of its start."""
    smooth, mean = [], 0.0
    for place, value in enumerate(values):
        mean = keep * mean + (1 - keep) * value
        smooth.append(mean / (1 - keep ** (place + 1)))
    return smooth
