"""Runs take turns, stop when asked, stop when nobody looks, and turn a user's error into its sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from mtl.errors import DataError, SessionError
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
    yield RunEnded("stopped", number, None, None, number, {"weight": 1})


def make(
    work: Callable[[ShouldStop], Iterator[RunEvent]], slot: TrainingSlot, alive: Callable[[], bool] = lambda: True
):
    kept: list[RunEnded] = []
    return Run("run", work, slot, finished=kept.append, alive=alive), kept


def test_stop_ends_a_run_and_hands_over_its_model() -> None:
    run, kept = make(endless, TrainingSlot())
    run.start()
    while not run.steps:
        threading.Event().wait(0.01)
    run.stop()
    run.join(10)
    assert run.state == "ended"
    assert [ended.reason for ended in kept] == ["stopped"]
    assert dict(kept[0].state) != dict(run.ended.state) == {}  # the run keeps no second copy of the weights


def test_a_run_that_nobody_watches_ends() -> None:
    looks = iter([True, True, True, False])  # at its turn, then before each step
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
    second, kept = make(endless, slot)
    first.start()
    second.start()
    second.stop()
    second.join(10)
    assert second.state == "ended"
    assert (second.events, kept) == ([], [])  # it never trained, beside the first or at all
    assert first.state == "running"
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


def test_a_waiting_run_whose_page_left_goes_too() -> None:
    slot = TrainingSlot()
    first, _ = make(endless, slot)
    second, kept = make(endless, slot, alive=lambda: False)
    first.start()
    second.start()
    second.join(10)
    assert (second.state, kept) == ("ended", [])
    first.stop()
    first.join(10)


def test_the_line_is_bounded() -> None:
    slot = TrainingSlot(capacity=1)
    first, _ = make(endless, slot)
    second, _ = make(endless, slot)
    first.start()
    with pytest.raises(SessionError, match="1 runs wait already"):
        second.start()
    first.stop()
    first.join(10)
