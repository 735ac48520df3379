"""Runs take turns, stop when asked, stop when nobody looks, and turn a user's error into its sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from mtl.errors import DataError
from mtl.service.runs import Run, TrainingSlot
from mtl.training.events import RunEnded, RunEvent, StepEnded

ShouldStop = Callable[[], bool]


def step(number: int) -> StepEnded:
    return StepEnded(number, "data", {"a": 1.0}, None, 0.1, 10, 0.1)


def endless(should_stop: ShouldStop) -> Iterator[RunEvent]:
    number = 0
    while not should_stop():
        number += 1
        yield step(number)
    yield RunEnded("stopped", number, None, None, number, {})


def make(
    work: Callable[[ShouldStop], Iterator[RunEvent]], slot: TrainingSlot, alive: Callable[[], bool] = lambda: True
):
    kept: list[RunEnded] = []
    return Run("run", work, slot, finished=kept.append, alive=alive), kept


def test_stop_ends_a_run_and_hands_over_its_model() -> None:
    run, kept = make(endless, TrainingSlot())
    run.start()
    run.stop()
    run.join(10)
    assert run.state == "ended"
    assert kept == [run.ended]
    assert run.ended.reason == "stopped"


def test_a_run_that_nobody_watches_ends() -> None:
    looks = iter([True, True, False])
    run, kept = make(endless, TrainingSlot(), alive=lambda: next(looks))
    run.start()
    run.join(10)
    assert [event.step for event in run.steps] == [1, 2]
    assert len(kept) == 1


def test_the_second_run_waits_for_the_first_and_says_so() -> None:
    slot = TrainingSlot()
    first, _ = make(endless, slot)
    second, _ = make(endless, slot)
    first.start()
    second.start()
    assert (second.state, second.ahead) == ("waiting", 1)
    first.stop()
    first.join(10)
    while second.state == "waiting":
        threading.Event().wait(0.01)
    assert second.state == "running"
    second.stop()
    second.join(10)
    assert second.state == "ended"


def test_a_waiting_run_can_be_stopped() -> None:
    slot = TrainingSlot()
    first, _ = make(endless, slot)
    second, _ = make(endless, slot)
    first.start()
    second.start()
    second.stop()
    second.join(10)
    assert second.state == "ended"
    assert second.steps == []
    first.stop()
    first.join(10)


def test_a_users_error_becomes_the_runs_sentence_and_frees_the_slot() -> None:
    def broken(_: ShouldStop) -> Iterator[RunEvent]:
        yield step(1)
        raise DataError("table.csv: row 3 is wrong")

    slot = TrainingSlot()
    run, kept = make(broken, slot)
    run.start()
    run.join(10)
    assert (run.state, run.error, kept) == ("failed", "table.csv: row 3 is wrong", [])
    after, _ = make(endless, slot)
    after.start()
    after.stop()
    after.join(10)
    assert after.state == "ended"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_raises_and_the_page_is_told_without_details() -> None:
    def broken(_: ShouldStop) -> Iterator[RunEvent]:
        yield step(1)
        raise ZeroDivisionError("secret")

    run, _ = make(broken, TrainingSlot())
    run.start()
    run.join(10)
    assert run.state == "failed"
    assert "secret" not in run.error
