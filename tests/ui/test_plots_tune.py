"""Figures of a run hold what was measured."""

from __future__ import annotations

import math

import numpy as np

from mtl.evaluation.conflict import Conflict, TaskPair
from mtl.service.aftermath import Moved, MovedMap
from mtl.service.runs import RunRecord
from mtl.training.events import ConflictMeasured, Evaluated, SourceScore, StepEnded
from mtl.ui import plots_tune


def step(number: int, loss: float, weight: float = 1.0, retention: float | None = None) -> StepEnded:
    return StepEnded(number, "d", {"mood": loss}, retention, 0.1, 9, 0.1, weights={"mood": weight})


def run(*events: object) -> RunRecord:
    return RunRecord("r", "running", events)


def test_raw_losses_are_drawn_as_they_are_and_smoothed_with_those_of_held_rows_as_dots() -> None:
    held = Evaluated(0, (SourceScore("d", "mood", {}, 0.5, loss=1.75),), 0.5)
    figure = plots_tune.losses(run(held, *(step(i, 2.0 / i, retention=0.1) for i in (1, 2, 4))))
    raw, smooth, dots, kept = figure.data
    assert list(raw.y) == [2.0, 1.0, 0.5]
    assert smooth.y[0] == 2.0, "the smoothed curve starts where the loss does"
    assert (list(dots.x), list(dots.y), dots.mode) == ([0], [1.75], "markers")
    assert (kept.name, list(kept.y)) == ("kept vectors", [0.1] * 3)
    assert len(plots_tune.losses(None).data) == 0


def test_scores_are_one_line_a_head_and_their_mean() -> None:
    found = [
        Evaluated(n, (SourceScore("d", "mood", {}, n / 10), SourceScore("d", "things", {}, 0.5)), n / 20)
        for n in (0, 5)
    ]
    figure = plots_tune.scores(run(*found))
    assert [(line.name, list(line.y)) for line in figure.data] == [
        ("mood", [0.0, 0.5]),
        ("things", [0.5, 0.5]),
        ("mean", [0.0, 0.25]),
    ]
    assert plots_tune.scores(run()) is None


def test_weights_are_drawn_apart_where_they_say_something() -> None:
    assert plots_tune.weights(run(step(1, 2.0), step(2, 1.0))) is None
    figure = plots_tune.weights(run(step(1, 2.0, 0.5), step(2, 1.0, 0.25)))
    assert [list(line.y) for line in figure.data] == [[0.5, 0.25]]


def test_the_conflict_meter_shows_pairs_by_parts_as_last_measured() -> None:
    def measured(number: int, value: float) -> ConflictMeasured:
        pair = TaskPair("mood", "to<pic", (value, math.nan))
        return ConflictMeasured(number, Conflict(("embeddings", "layer 1"), (pair,)))

    figure = plots_tune.conflict(run(measured(1, 0.9), measured(5, -0.25)))
    assert [list(row) for row in figure.data[0].z] == [[-0.25, None]]
    assert list(figure.data[0].y) == ["mood · to&lt;pic"]
    assert "after step 5" in figure.layout.title.text
    assert plots_tune.conflict(run()) is None


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    figure = plots_tune.losses(run(*(step(i, float(i)) for i in range(1, 2001))))
    assert len(figure.data[0].x) <= 402
    assert figure.data[0].x[-1] == 2000


def test_before_and_after_have_the_same_axes() -> None:
    moved = Moved(("a", "b<", "c"), ("law", "", "law"), np.zeros((3, 4)), np.ones((3, 4)))
    points = np.array([[0, 0], [1, 1], [2, 4]], np.float32)
    figure = plots_tune.moved(MovedMap(moved, points, points * 2, "UMAP"))
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range
    assert figure.layout.yaxis.range == figure.layout.yaxis2.range
    assert figure.layout.xaxis.range[1] > 4
    grey, law, grey_after, law_after = figure.data
    assert (grey.name, law.name) == ("samples", "law")
    assert list(law.y) == [0, 4]
    assert list(law_after.y) == [0, 8]
    assert grey_after.text[0] == "b&lt;"
