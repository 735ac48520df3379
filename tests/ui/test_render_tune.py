"""A run in words: where it stands, what it gained, what it cost, how it differs from another."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest

from mtl.evaluation.drift import Drift, Flip, Shift
from mtl.service.aftermath import Aftermath
from mtl.service.equivalent import Equivalent
from mtl.service.runs import RunRecord
from mtl.service.sessions import Tuned
from mtl.training.config import FreezePolicy
from mtl.training.events import Evaluated, RunEnded, RunStarted, SourceScore, StepEnded
from mtl.ui import plots_tune, render_tune

BAD = "<img src=x>"


@pytest.mark.parametrize(
    ("state", "events", "words"),
    [
        ("waiting", [], "waits; 0 run(s) come first"),
        ("running", [], "prepares"),
        ("running", [RunStarted(7, "Frozen: x.", {"h": 2}, {"h": 4}, {}, (), "cpu")], "step 0 of 7. Frozen: x. 2 of 4"),
    ],
)
def test_a_run_says_where_it_stands(state: str, events: list, words: str) -> None:
    assert words in render_tune.status(RunRecord("tuned 1", state, events))


def test_scores_compare_the_first_with_the_best() -> None:
    evaluations = [
        Evaluated(step, (SourceScore("d", "mood", {"accuracy": value}, value),), value)
        for step, value in ((0, 0.5), (5, 0.9), (10, 0.7))
    ]
    html = render_tune.scores(RunRecord("tuned 1", "running", evaluations))
    assert re.findall(r"class='num'>([-+.\d]+)</td>", html) == ["0.500", "0.900", "+0.400"]


def test_what_a_run_cost_is_shown_with_texts_as_text() -> None:
    found = Drift(
        (Shift("topic", "labels as before", 1.0, 0.9, known=False),), (Flip(BAD, "topic", "food", BAD),) * 13, 0.97
    )
    html = render_tune.drift(found)
    assert (
        "<td class='num'>1.000</td><td class='num'>0.900</td><td class='num'><b class=\"mtl-lost\">-0.100</b></td>"
        in html
    )
    assert "13 answers changed (the first 12)" in html
    assert "<img" not in html
    assert "No answer changed." in render_tune.drift(Drift((), (), 1.0))
    assert render_tune.drift(None) == ""
    assert "no known answer is lost, but some answers changed" in html, "a changed answer may be the right one"
    lost = Drift((Shift("topic", "accuracy, 9 known answers", 0.9, 0.8), *found.shifts), found.flips, 0.97)
    assert "at worst 10.0 points (topic, accuracy, 9 known answers)" in render_tune.drift(lost)
    assert "What it cost elsewhere: nothing" in render_tune.drift(Drift((Shift("t", "w", 0.5, 0.5),), (), 1.0))


def test_pace_and_time_left_are_of_the_last_steps() -> None:
    started = RunStarted(50, "x", {}, {}, {}, (), "cpu")
    steps = [StepEnded(i, "d", {"mood": 1.0}, None, 0.1, 100, 9.0 if i <= 5 else 0.5) for i in range(1, 26)]
    said = render_tune.status(RunRecord("tuned 1", "running", [started, *steps]))
    assert "step 25 of 50, 2.0 steps and 200 tokens a second, about 12 s left" in said


def tuned(name: str, settings: dict[str, object], scores: tuple[float, float], after: float) -> Tuned:
    seen = [Evaluated(step, (), value) for step, value in zip((0, 5), scores, strict=True)]
    ended = RunEnded("finished", 5, seen[0], seen[1], 5, {})
    drift = Drift((Shift("topic", "labels as before", 1.0, after),), (), 1.0)
    run = RunRecord(name, "ended", [*seen, ended])
    return Tuned(run, settings, Aftermath(drift, (), None), Equivalent("", "", "", ""), "")


def test_runs_are_told_apart_by_what_differed() -> None:
    common = {"steps": 5, "rows_sha256": "a"}
    frozen = {"freeze": asdict(FreezePolicy(encoder=True)), "retention": True, "head_lr": 0.1}
    found = {
        "tuned 1": tuned("tuned 1", {**common, **frozen}, (0.2, 0.8), 1.0),
        "tuned 2": tuned(
            "tuned 2",
            {**common, "freeze": asdict(FreezePolicy()), "retention": False, "head_lr": 0.1},
            (0.2, 0.9),
            0.7,
        ),
    }
    html = render_tune.runs(found)
    same = "<td>what moves: Frozen: the whole encoder.; vectors held: yes</td><td class='num'>5, best 5</td>"
    assert f"{same}<td class='num'>0.200 → 0.800</td>" in html
    assert "what moves: Nothing is frozen" in html
    assert "vectors held: no" in html
    assert "-0.300" in html
    assert "rate" not in html
    figure = plots_tune.runs(found)
    assert [(list(line.x), list(line.y)) for line in figure.data] == [([0, 5], [0.2, 0.8]), ([0, 5], [0.2, 0.9])]
    assert plots_tune.runs({"tuned 1": found["tuned 1"]}) is None
