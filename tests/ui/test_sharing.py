"""The measured answer on the page: verdicts in a table, scores in a figure, nothing where nothing was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mtl.evaluation.bootstrap import Interval
from mtl.inference.predictor import Predictor
from mtl.service.service import Service
from mtl.settings import Settings
from mtl.training.compare import FREE, PROBE, SHARED, SINGLE
from mtl.training.verdict import Cost, Difference, OnePass, Score, SharingReport, write
from mtl.ui import plots, render
from mtl.ui.app import build_ui

WHERE = {"task": "to<pic", "metric": "accuracy"}
SCORES = tuple(
    Score(**WHERE, source=source, arm=arm, interval=Interval(value, value - 0.02, value + 0.01))
    for source in (None, "news")
    for arm, value in ((SHARED, 0.9), (SINGLE, 0.85))
)
GAPS = tuple(
    Difference(**WHERE, source=source, against=SINGLE, interval=Interval(0.05, 0.01, 0.08), verdict="better")
    for source in (None, "news")
)
REPORT = SharingReport(
    encoder="tiny",
    cap=8000,
    seeds=(0, 1, 2),
    machine="two cores",
    scores=SCORES,
    differences=GAPS,
    forgetting=(),
    costs=(
        Cost(arm=SHARED, steps=9, seconds=1, parameters=10),
        Cost(arm=SINGLE, steps=9, seconds=1, parameters=35),
    ),
    one_pass=OnePass(texts=8, passes=4, ratio=3.25),
)


def test_a_verdict_a_task_with_its_limits_and_what_one_pass_saves() -> None:
    html = render.verdicts(REPORT)
    assert html.count("<b>better</b>") == 1  # test sets are in the figure
    assert "to&lt;pic" in html
    assert "+0.050<div class='mtl-dim'>+0.010 to +0.080</div>" in html
    assert "3 seeds, at most 8,000 training rows a task, equal budget (9 steps of the shared model)" in html
    assert "hold 3.5 times the parameters and take 3.2 times as long" in html
    assert "4 passes instead of one; two cores" in html


def test_the_answer_is_said_in_plain_words_too() -> None:
    html = render.in_plain_words(REPORT)
    assert "<b>to&lt;pic</b>: the shared model is 5.0 points better than the specialist" in html
    assert "3.5 times as large together, and take 3.2 times as long" in html
    assert "3 times with different luck of the draw" in html
    same = replace(REPORT, differences=(replace(GAPS[0], verdict="same", interval=Interval(-0.012, -0.03, 0.01)),))
    assert "cannot be told apart (-1.2 points)" in render.in_plain_words(same)
    kept = replace(REPORT, differences=(*GAPS, replace(GAPS[0], against=FREE)))
    assert "without that, to&lt;pic would be 5.0 points lower" in render.in_plain_words(kept)


def test_the_figure_has_every_score_with_its_limits() -> None:
    figure = plots.sharing(REPORT)
    shared, single = figure.data
    assert (shared.name, single.name) == (SHARED, SINGLE)
    assert list(single.x) == [0.85, 0.85]
    assert list(single.y) == ["<b>to&lt;pic</b>", "to&lt;pic<br><i>news</i>"]
    assert {trace.orientation for trace in figure.data} == {"h"}  # or arms of one row hide each other
    assert list(figure.layout.xaxis.range) == pytest.approx([0.81, 0.93])
    assert list(shared.error_x.array) == pytest.approx([0.01, 0.01])
    assert list(shared.error_x.arrayminus) == pytest.approx([0.02, 0.02])


@pytest.mark.parametrize("measured", [True, False])
def test_the_panel_is_there_where_a_comparison_is(predictor: Predictor, tmp_path: Path, measured: bool) -> None:
    path = tmp_path / "comparison.json"
    if measured:
        write(REPORT, path)
    page = build_ui(Service(Settings(comparison=path), base=predictor))
    ids = {block.elem_id for block in page.blocks.values()}
    assert ("sharing-figure" in ids) is measured


def test_each_arm_has_a_symbol_of_its_own() -> None:
    assert len(set(plots.SYMBOLS)) == len({SHARED, SINGLE, PROBE, FREE})
