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
    return SessionStore(ttl_s=100, max_models=2, clock=clock)


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
    store.add_model(first, "a1", object())
    clock.now = 5
    second = store.get("b")
    store.add_model(second, "b1", object())
    store.add_model(second, "b2", object())
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
