"""What the command line prints of a run, event by event."""

from __future__ import annotations

import math

from mtl.evaluation.conflict import Conflict, TaskPair
from mtl.training.events import ConflictMeasured, Evaluated, Noted, RunEnded, RunStarted, SourceScore, StepEnded
from mtl.training.transcript import lines

SCORES = (SourceScore("tickets", "intent", {"accuracy": 0.5, "macro_f1": 0.25}, 0.5, 1.25),)


def step(number: int, **changes: object) -> StepEnded:
    usual = {"losses": {"intent": 1.5}, "retention": None, "encoder_lr": 1e-4, "tokens": 30, "seconds": 0.5}
    return StepEnded(step=number, source="tickets", **{**usual, **changes})


def test_the_start_says_what_learns_and_warns() -> None:
    event = RunStarted(
        9,
        "Nothing is frozen.",
        {"head a": 10},
        {"head a": 10, "layer 1": 1990},
        {"x": 0.25, "y": 0.75},
        ("Look.",),
        "cpu",
    )
    assert lines(event) == [
        "Nothing is frozen. 10 of 2,000 parameters learn, 9 steps on cpu",
        "shares: x 25.0%, y 75.0%",
        "warning: Look.",
    ]


def test_the_first_step_and_every_fiftieth_are_told() -> None:
    assert [number for number in range(1, 151) if lines(step(number))] == [1, 50, 100, 150]
    assert lines(step(1)) == ["step 1 tickets: intent 1.500 (60 tokens/s)"]
    full = step(50, weights={"intent": 0.5}, retention=0.25, grad_norm=2.0, memory=1_500_000_000)
    assert lines(full) == ["step 50 tickets: intent 1.500 x0.50 retention 0.250 gradient 2.00 (60 tokens/s, 1.5 GB)"]


def test_a_validation_has_a_line_a_score() -> None:
    assert lines(Evaluated(3, SCORES, 0.5)) == [
        "validation after step 3: 0.5000",
        "  tickets intent: accuracy 0.5000, macro_f1 0.2500; loss 1.250",
    ]


def test_the_conflict_is_its_mean_and_where_it_is_worst() -> None:
    pairs = (TaskPair("a", "b", (0.5, -0.25)), TaskPair("a", "c", (math.nan, math.nan)))
    found = lines(ConflictMeasured(3, Conflict(("layer 1", "layer 2"), pairs)))
    assert found == ["cosine of gradients: a/b +0.12 (least -0.25, layer 2)"]


def test_notes_and_ends_are_told_whole() -> None:
    assert lines(Noted(3, "Memory ran out.")) == ["Memory ran out."]
    best = Evaluated(4, SCORES, 0.5)
    assert lines(RunEnded("finished", 6, best, best, 4, {}, (2, 4))) == [
        "finished after 6 steps; best of step 4",
        "kept the mean of the weights after steps 2, 4: 0.5000",
    ]
    assert lines(RunEnded("diverged", 6, None, None, 6, {}, problem="The loss was nan.")) == [
        "diverged after 6 steps; best of step 6",
        "The loss was nan.",
    ]
