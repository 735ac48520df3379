"""So many at once, the others wait, and who comes beyond that is sent away."""

from __future__ import annotations

import threading

import pytest

from mtl.errors import BusyError
from mtl.service.desk import Desk


def test_results_and_faults_come_to_who_asked() -> None:
    desk = Desk(4)
    assert desk.take(lambda: 7).result(10) == 7
    with pytest.raises(ZeroDivisionError):
        desk.take(lambda: 1 / 0).result(10)
    desk.close()


def test_beyond_the_limit_one_is_sent_away_and_a_place_that_is_free_again_is_given() -> None:
    desk, held = Desk(2), threading.Event()
    taken = [desk.take(held.wait) for _ in range(2)]
    assert desk.taken == 2
    with pytest.raises(BusyError, match="2 requests") as refused:
        desk.take(lambda: None)
    assert refused.value.retry_after_s == 1
    held.set()
    assert [one.result(10) for one in taken] == [True, True]
    assert desk.take(lambda: 1).result(10) == 1


def test_what_waits_when_it_closes_is_done() -> None:
    desk, held = Desk(50), threading.Event()
    taken = [desk.take(held.wait) for _ in range(50)]
    desk.close()
    with pytest.raises(BusyError, match="about to stop"):
        desk.take(lambda: None)
    held.set()
    assert all(one.result(10) for one in taken)
