"""A recorded run reads back as it was, without its weights; the one that ships can be shown."""

from __future__ import annotations

import torch

from mtl.service.recording import EXAMPLE_RUN, from_json, to_json
from mtl.service.runs import RunRecord
from mtl.settings import Settings
from mtl.training.events import Evaluated, RunEnded, RunStarted, SourceScore, StepEnded

BEFORE = Evaluated(0, (SourceScore("data", "mood", {"accuracy": 0.25, "macro_f1": 0.2}, 0.2),), 0.2)
BEST = Evaluated(4, (SourceScore("data", "mood", {"accuracy": 0.75, "macro_f1": 0.7}, 0.7),), 0.7)
EVENTS = (
    RunStarted(4, "Nothing is frozen.", {"embeddings": 3}, {"embeddings": 3}, {"data": 1.0}, ("careful",), "cpu"),
    BEFORE,
    StepEnded(1, "data", {"mood": 1.5}, None, 1e-4, 30, 0.25),
    StepEnded(2, "data", {"mood": 1.0}, 0.5, 1e-4, 30, 0.25),
    BEST,
    RunEnded("finished", 4, BEFORE, BEST, 4, {"weight": torch.ones(2)}),
)


def test_a_recorded_run_reads_back() -> None:
    again = from_json(to_json(RunRecord("example", "ended", EVENTS)))
    assert again.name == "example"
    assert again.state == "ended"
    assert tuple(again.events[:-1]) == EVENTS[:-1]
    assert (again.ended.best, again.ended.best_step, dict(again.ended.state)) == (BEST, 4, {})


def test_the_recorded_example_learned_both_heads() -> None:
    record = from_json((Settings().samples / EXAMPLE_RUN).read_text(encoding="utf-8"))
    assert {name for step in record.steps for name in step.losses} == {"request", "things"}
    assert record.ended.best.composite > record.ended.before.composite + 0.3
