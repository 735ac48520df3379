"""Figures hold the values that they show, and typed markup stays text."""

from __future__ import annotations

import numpy as np

from mtl.service.runs import RunRecord
from mtl.service.service import Corpus, MapPoints, Matrix, Placed
from mtl.training.events import StepEnded
from mtl.ui import plots


def points(values: tuple[str, ...]) -> MapPoints:
    texts = tuple(f"sentence <b>{i}</b>" for i in range(len(values)))
    places = np.arange(2 * len(values), dtype=np.float32).reshape(-1, 2)
    return MapPoints(Corpus(texts, {"kind": values}), (), places, "PCA")


def test_heat_map_holds_the_cosines_in_reading_order() -> None:
    figure = plots.heat_map(Matrix(("one", "two"), np.array([[1, 0.25], [0.25, 1]], np.float32), ()))
    assert figure.data[0].z.tolist() == [[1, 0.25], [0.25, 1]]
    assert list(figure.data[0].y) == ["1. one", "2. two"]


def test_scatter_has_a_trace_a_value_and_every_point_once() -> None:
    figure = plots.scatter(points(("a", "b", "a", "a")), "kind")
    assert {trace.name: list(trace.x) for trace in figure.data} == {"a": [0, 4, 6], "b": [2]}


def test_many_values_share_one_colour_beyond_a_dozen() -> None:
    values = (*(f"v{i:02}" for i in range(20)), "v00")
    figure = plots.scatter(points(values), "kind")
    assert len(figure.data) == plots.MAX_GROUPS
    assert figure.data[0].name == "v00"
    assert figure.data[-1].name == "other values"
    assert sum(len(trace.x) for trace in figure.data) == len(values)


def test_typed_markup_stays_text_in_hover_labels() -> None:
    figure = plots.scatter(points(("<i>x</i>",)), "kind")
    assert "&lt;b>0" in figure.data[0].text[0]
    assert figure.data[0].name == "&lt;i>x&lt;/i>"


def test_an_unknown_column_draws_one_group() -> None:
    assert [trace.name for trace in plots.scatter(points(("a", "b")), None).data] == ["sentences"]


def test_loss_curve_draws_what_was_measured() -> None:
    steps = [StepEnded(i, "d", {"mood": 2.0 / i}, None, 0.1, 9, 0.1) for i in (1, 2, 4)]
    figure = plots.loss_curve(RunRecord("r", "running", steps))
    assert list(figure.data[0].y) == [2.0, 1.0, 0.5]
    assert figure.data[1].y[0] == 2.0  # the smoothed curve starts where the loss does


def test_a_placed_sentence_is_one_star_more() -> None:
    placed = Placed("my <b>own</b>", np.array([1.5, -2.0], np.float32), "x")
    figure = plots.scatter(points(("a", "b")), "kind", placed)
    star = figure.data[-1]
    assert (star.name, list(star.x), list(star.y), star.marker.symbol) == ("your sentence", [1.5], [-2.0], "star")
    assert star.text[0] == "my &lt;b>own&lt;/b>"
    assert len(figure.data) == 3
