"""Sessions are apart from one another, age out, and together keep a bounded number of models."""

from __future__ import annotations

import pytest

from mtl.errors import SessionError
from mtl.service.sessions import SessionStore


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> SessionStore:
    return SessionStore(ttl_s=100, grace_s=10, max_models=2, max_bytes=100, weigh=int, clock=clock)


def test_a_key_always_finds_its_own_session(store: SessionStore) -> None:
    store.get("a").n_runs = 3
    assert store.get("a").n_runs == 3
    assert store.get("b").n_runs == 0


def test_a_session_that_is_not_heard_of_is_freed(store: SessionStore, clock: Clock) -> None:
    store.get("a").n_runs = 3
    clock.now = 99
    assert store.get("a").n_runs == 3  # a sign of life: the time starts again
    clock.now = 198
    assert store.get("a").n_runs == 3
    clock.now = 299
    store.get("b")
    assert store.get("a").n_runs == 0


def test_beyond_the_cap_the_stalest_session_loses_its_oldest_model(store: SessionStore, clock: Clock) -> None:
    first = store.get("a")
    store.add_model(first, "a1", 1)
    clock.now = 5
    second = store.get("b")
    store.add_model(second, "b1", 1)
    store.add_model(second, "b2", 1)
    assert list(first.models) == []
    assert list(second.models) == ["b1", "b2"]


def test_keys_are_long_and_different(store: SessionStore) -> None:
    keys = {store.new_key() for _ in range(100)}
    assert len(keys) == 100
    assert min(map(len, keys)) >= 20


@pytest.mark.parametrize("key", ["", "x" * 65])
def test_no_key_or_an_oversized_one_is_refused(store: SessionStore, key: str) -> None:
    with pytest.raises(SessionError, match="reload"):
        store.get(key)


def test_beyond_the_bytes_models_go_until_the_new_one_fits(store: SessionStore, clock: Clock) -> None:
    first, second = store.get("a"), store.get("b")
    store.add_model(first, "a1", 60)
    store.add_model(second, "b1", 40)
    assert store.n_bytes() == 100
    clock.now = 5
    store.get("b")
    store.add_model(store.get("c"), "c1", 50)
    assert list(first.models) == []
    assert list(second.models) == ["b1"]
    store.add_model(second, "huge", 1000)  # what cannot fit is kept alone
    assert (store.n_models(), store.n_bytes()) == (1, 1000)


class Stopped:
    """A run that remembers whether it was stopped."""

    def __init__(self) -> None:
        self.was_stopped, self.active = False, True

    def stop(self) -> None:
        self.was_stopped = True


def test_a_page_that_left_has_its_grace_and_then_everything_is_freed(store: SessionStore, clock: Clock) -> None:
    store.arrived("a", "page 1")
    store.arrived("a", "page 2")
    run = store.get("a").run = Stopped()
    store.gone("page 1")
    clock.now = 50
    store.sweep()
    assert not run.was_stopped, "another page of the session is open"
    store.gone("page 2")
    clock.now = 59
    store.sweep()
    assert not run.was_stopped, "within the grace"
    clock.now = 61
    store.sweep()
    assert run.was_stopped
    assert store.all() == []


def test_a_page_that_comes_back_in_time_keeps_what_it_had(store: SessionStore, clock: Clock) -> None:
    store.arrived("a", "page 1")
    store.get("a").n_runs = 3
    store.gone("page 1")
    clock.now = 9
    store.arrived("a", "page 1 again")
    clock.now = 90
    assert store.get("a").n_runs == 3


def test_one_that_still_asks_is_not_gone(store: SessionStore, clock: Clock) -> None:
    store.arrived("a", "page 1")
    store.get("a").n_runs = 3
    store.gone("page 1")  # a phone closes the connection of a page in the background, which goes on afterwards
    clock.now = 9
    assert store.get("a").n_runs == 3
    clock.now = 18
    assert store.get("a").n_runs == 3
    clock.now = 29
    store.sweep()
    assert store.all() == []


def test_a_page_that_nobody_knows_may_leave(store: SessionStore) -> None:
    store.gone("never seen")
    assert store.all() == []


def test_there_are_never_more_sessions_than_the_limit(store: SessionStore, clock: Clock, monkeypatch) -> None:
    monkeypatch.setattr("mtl.service.sessions.MOST_SESSIONS", 3)
    store.add_model(store.get("with a model"), "m", 1)
    for place, key in enumerate("abcd"):
        clock.now = place
        store.get(key)
    assert [session.key for session in store.all()] == ["with a model", "c", "d"]


def test_a_model_of_a_session_that_is_over_takes_no_room(store: SessionStore, clock: Clock) -> None:
    over = store.get("over")
    clock.now = 101
    living = store.get("living")
    assert store.add_model(living, "m", 100)
    assert not store.add_model(over, "late", 100)
    assert list(living.models) == ["m"]


def test_whoever_keeps_things_of_sessions_hears_when_they_are_over(store: SessionStore, clock: Clock) -> None:
    heard: list[str] = []
    store.freed = heard.append
    store.get("a")
    clock.now = 101
    store.sweep()
    assert (heard, store.n_freed) == (["a"], 1)


def test_of_one_session_so_many_pages_are_counted(store: SessionStore, monkeypatch) -> None:
    monkeypatch.setattr("mtl.service.sessions.MOST_PAGES", 2)
    for page in ("one", "two", "two", "three"):
        store.arrived("a", page)
    assert [store.is_open(page) for page in ("one", "two", "three")] == [False, True, True]
    assert list(store.get("a").pages) == ["two", "three"]
    store.gone("one")
    assert store.get("a").left is None
