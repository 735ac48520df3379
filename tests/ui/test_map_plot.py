"""The map holds every point once, where it lies, in the colour of its value; typed markup stays text."""

from __future__ import annotations

import numpy as np
import pytest

from mtl.service.corpora import Corpus
from mtl.service.maps import MapPoints, Placed
from mtl.ui import plots
from mtl.ui.map_plot import FAINT, scatter


def points(values: tuple[str, ...], n_dims: int = 2) -> MapPoints:
    texts = tuple(f"sentence <b>{i}</b>" for i in range(len(values)))
    places = np.arange(n_dims * len(values), dtype=np.float32).reshape(-1, n_dims)
    return MapPoints(Corpus(texts, {"kind": values}), (), places, "PCA")


def test_scatter_has_a_trace_a_value_and_every_point_once() -> None:
    figure = scatter(points(("a", "b", "a", "a")), "kind")
    assert {trace.name: list(trace.x) for trace in figure.data} == {"a": [0, 4, 6], "b": [2]}


def test_many_values_share_one_colour_beyond_a_dozen() -> None:
    values = (*(f"v{i:02}" for i in range(20)), "v00")
    figure = scatter(points(values), "kind")
    assert len(figure.data) == plots.MAX_GROUPS
    assert figure.data[0].name == "v00"
    assert figure.data[-1].name == "other values"
    assert sum(len(trace.x) for trace in figure.data) == len(values)


def test_typed_markup_stays_text_in_hover_labels() -> None:
    figure = scatter(points(("<i>x</i>",)), "kind")
    assert "&lt;b>0" in figure.data[0].text[0]
    assert figure.data[0].name == "&lt;i>x&lt;/i>"


def test_an_unknown_column_draws_one_group() -> None:
    assert [trace.name for trace in scatter(points(("a", "b")), None).data] == ["sentences"]


def test_a_placed_sentence_is_one_star_more() -> None:
    placed = Placed("my <b>own</b>", np.array([1.5, -2.0], np.float32), "x")
    figure = scatter(points(("a", "b")), "kind", placed=placed)
    star = figure.data[-1]
    assert (star.name, list(star.x), list(star.y), star.marker.symbol) == ("your sentence", [1.5], [-2.0], "star")
    assert star.text[0] == "my &lt;b>own&lt;/b>"
    assert len(figure.data) == 3


def test_points_tell_their_places_and_marked_ones_stand_out() -> None:
    figure = scatter(points(("a", "b", "a", "a")), "kind", marked=(2, 1))
    assert {trace.name: list(trace.customdata) for trace in figure.data} == {"a": [0, 2, 3], "b": [1]}
    assert {trace.name: list(trace.selectedpoints) for trace in figure.data} == {"a": [1], "b": [0]}
    assert figure.data[0].unselected.marker.opacity == FAINT
    assert scatter(points(("a", "b")), "kind").data[0].selectedpoints is None


@pytest.mark.parametrize(("values", "is_scale"), [(20, True), (12, False)])
def test_many_different_numbers_are_a_scale(values: int, is_scale: bool) -> None:
    column = tuple(f"0.{i:02}" for i in range(values))
    figure = scatter(points(column), "kind")
    if is_scale:
        assert list(figure.data[0].marker.color) == [float(value) for value in column]
        assert figure.data[0].marker.showscale
    else:
        assert len(figure.data) == 12
    assert len(scatter(points((*column[:-1], "none")), "kind").data) == min(12, values)


def test_three_dimensions_and_marks_among_them() -> None:
    figure = scatter(points(("a", "b", "a"), 3), "kind", marked=[2])
    assert [trace.type for trace in figure.data] == ["scatter3d"] * 3
    assert list(figure.data[0].z) == [2, 8]
    bright = figure.data[1]
    assert (list(bright.x), list(bright.customdata), bright.marker.opacity) == ([6], [2], 1)
    assert figure.data[0].marker.opacity == FAINT
    star = scatter(points(("a",), 3), "kind", placed=Placed("mine", np.ones(3, np.float32), "x")).data[-1]
    assert (star.type, list(star.z)) == ("scatter3d", [1.0])
