"""Figures hold the values that they show, and typed markup stays text."""

from __future__ import annotations

import numpy as np

from mtl.inference.explain import Alignment
from mtl.service.similarity import Matrix
from mtl.ui import plots


def test_heat_map_holds_the_cosines_in_reading_order() -> None:
    figure = plots.heat_map(Matrix(("one", "two"), np.array([[1, 0.25], [0.25, 1]], np.float32), ()))
    assert figure.data[0].z.tolist() == [[1, 0.25], [0.25, 1]]
    assert list(figure.data[0].y) == ["1. one", "2. two"]


def test_a_heat_map_of_two_lists_has_the_one_down_and_the_other_across() -> None:
    scores = np.array([[0.1, 0.2, 0.3]], np.float32)
    figure = plots.heat_map(Matrix(("one",), scores, (), across=("a", "b", "c")))
    assert figure.data[0].z.tolist() == [[0.1, 0.2, 0.3]]
    assert (list(figure.data[0].x), list(figure.data[0].y)) == (["1", "2", "3"], ["1. one"])
    assert "b" in figure.data[0].customdata[0][1]


def test_an_alignment_shows_cosines_and_tells_shares() -> None:
    cosines, shares = np.array([[0.5, 1]], np.float32), np.array([[0.1, 0.25]], np.float32)
    figure = plots.alignment(Alignment(("a<b>",), ("x", "y"), cosines, shares, 0.4))
    assert figure.data[0].z.tolist() == [[0.5, 1]]
    assert figure.data[0].customdata[0] == [0.1, 0.25]
    assert (figure.data[0].y[0], list(figure.data[0].x)) == ("1. a&lt;b>", ["1. x", "2. y"])
