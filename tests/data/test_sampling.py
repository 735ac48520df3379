"""How often each source is drawn and in which order: shares, limits, turns, and one batch for every task."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.sampling import counts, fixed_shares, plan, round_robin, shares, together
from mtl.errors import ConfigError

NAMES = "abcdef"
SHARES = st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=6).filter(lambda v: sum(v) > 1e-3)
WHOLE = st.lists(st.integers(0, 50), min_size=1, max_size=6)


def named(values: list) -> dict:
    return dict(zip(NAMES, values, strict=False))


# --- shares -------------------------------------------------------------------------------------------------------


def test_a_share_is_batches_times_weight() -> None:
    found = shares({"a": 30, "b": 10, "c": 0}, {"a": 1.0, "b": 6.0, "c": 5.0})
    assert found == pytest.approx({"a": 1 / 3, "b": 2 / 3, "c": 0.0})


def test_a_temperature_takes_the_root_of_what_is_proportional() -> None:
    assert shares({"a": 900, "b": 100}, {"a": 1.0, "b": 1.0}, temperature=2) == pytest.approx({"a": 0.75, "b": 0.25})
    even = shares({"a": 900, "b": 100}, {"a": 1.0, "b": 1.0}, temperature=1e6)
    assert even == pytest.approx({"a": 0.5, "b": 0.5}, abs=1e-5)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ConfigError, match="no source has both rows and a weight above 0"):
        shares({"a": 0, "b": 3}, {"a": 1.0, "b": 0.0})


def test_named_shares_are_scaled_to_1_in_the_order_of_the_sources() -> None:
    found = fixed_shares({"a": 5, "b": 7}, {"b": 3.0, "a": 1.0})
    assert list(found.items()) == [("a", 0.25), ("b", 0.75)]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"a": 1.0}, r"sampling\.shares must name each source once; 'b' is missing"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, r"sampling\.shares must name each source once; 'c' is none"),
        ({}, "'a' is missing"),
    ],
)
def test_shares_that_name_other_sources_are_refused(wanted: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fixed_shares({"a": 5, "b": 7}, wanted)


# --- counts -------------------------------------------------------------------------------------------------------


def test_the_largest_remainders_are_rounded_up() -> None:
    assert counts({"a": 0.5, "b": 0.3, "c": 0.2}, 4) == {"a": 2, "b": 1, "c": 1}  # 2, 1.2 and 0.8
    assert counts({"a": 2.0, "b": 1.0}, 7) == {"a": 5, "b": 2}  # 4.67 and 2.33
    assert counts({"a": 1.0, "b": 0.0}, 3) == {"a": 3, "b": 0}


@given(SHARES, st.integers(0, 500))
def test_without_limits_each_share_holds_to_within_one_step(values: list[float], steps: int) -> None:
    share = named(values)
    found = counts(share, steps)
    assert found.keys() == share.keys()
    assert sum(found.values()) == steps
    for name, value in share.items():
        assert abs(found[name] - steps * value / sum(values)) < 1 + 1e-6
        assert value > 0 or found[name] == 0


def test_what_a_source_at_its_limit_leaves_goes_to_the_others_by_their_shares() -> None:
    share = {"small": 0.5, "mid": 0.2, "big": 0.3}
    assert counts(share, 100, {"small": 10, "mid": 99, "big": 99}) == {"small": 10, "mid": 36, "big": 54}
    # what `small` leaves brings `mid` to its limit too
    assert counts(share, 100, {"small": 10, "mid": 30, "big": 99}) == {"small": 10, "mid": 30, "big": 60}


def test_where_all_are_at_their_limits_there_are_fewer_steps() -> None:
    assert counts({"a": 0.9, "b": 0.1}, 100, {"a": 7, "b": 5}) == {"a": 7, "b": 5}


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    share = {"a": 0.7, "b": 0.3}
    assert counts(share, 10, {"a": 7, "b": 3}) == counts(share, 10) == {"a": 7, "b": 3}


@given(SHARES, st.integers(0, 300), st.lists(st.integers(0, 120), min_size=6, max_size=6))
def test_limits_hold_and_no_step_is_given_away(values: list[float], steps: int, caps: list[int]) -> None:
    share, limits = named(values), named(caps)
    found = counts(share, steps, limits)
    assert found.keys() == share.keys()
    assert all(0 <= found[name] <= limits[name] for name in share)
    room = sum(limits[name] for name, value in share.items() if value > 0)
    assert sum(found.values()) == min(steps, room)
    free = [name for name in share if found[name] < limits[name] - 1 and share[name] > 0]
    for one in free:  # of those below their limits, each has its share of what these have together
        mine = share[one] / sum(share[name] for name in free) * sum(found[name] for name in free)
        assert abs(found[one] - mine) < 2 + 1e-6


# --- order --------------------------------------------------------------------------------------------------------


@given(WHOLE, st.integers(0, 2**32 - 1))
def test_a_plan_holds_each_source_as_often_as_it_is_drawn(values: list[int], seed: int) -> None:
    drawn = named(values)
    found = plan(drawn, np.random.default_rng(seed))
    assert Counter(found) == Counter(drawn)
    assert found == plan(drawn, np.random.default_rng(seed))


def test_a_plan_is_shuffled_by_its_generator() -> None:
    one, two = (plan({"a": 50, "b": 50}, np.random.default_rng(seed)) for seed in (1, 2))
    assert one != two
    assert one != sorted(one)


def test_sources_take_turns() -> None:
    assert "".join(round_robin("abc", 8)) == "abcabcab"
    assert round_robin("abc", 0) == []


def test_a_source_at_its_limit_is_passed_over() -> None:
    assert "".join(round_robin("abc", 9, {"a": 1, "b": 3, "c": 9})) == "abcbcbccc"
    assert "".join(round_robin("ab", 9, {"a": 0, "b": 2})) == "bb"
    assert round_robin("ab", 9, {"a": 0, "b": 0}) == []


@given(st.integers(1, 6), st.integers(0, 60), st.lists(st.integers(0, 12), min_size=6, max_size=6))
def test_turns_are_even_until_a_limit_ends_them(n: int, steps: int, caps: list[int]) -> None:
    names, limits = list(NAMES[:n]), named(caps)
    found = round_robin(names, steps, limits)
    used = Counter(found)
    assert len(found) == min(steps, sum(limits[name] for name in names))
    most = max(used.values(), default=0)
    for name in names:
        assert used[name] <= limits[name]
        assert used[name] >= min(limits[name], most - 1)


# --- together -----------------------------------------------------------------------------------------------------


def test_each_step_draws_one_batch_for_every_task() -> None:
    tasks = {"topics": {"topic"}, "places": {"entities"}}
    found = together(["topics", "places", "topics", "places"], tasks)
    assert found == [("topics", "places")] * 2


def test_a_source_that_feeds_two_tasks_is_drawn_once_for_both() -> None:
    assert together(["both"] * 3, {"both": ["kind", "place"]}) == [("both",)] * 3
    found = together(["both", "pairs"] * 2, {"both": ["kind", "place"], "pairs": ["pair"]})
    assert found == [("both", "pairs")] * 2


def test_a_task_goes_through_its_own_sources_in_their_order_and_begins_again() -> None:
    tasks = {"a": ["topic"], "b": ["topic"], "c": ["pair"]}
    found = together(["a", "b", "a", "b", "b", "c"], tasks)
    assert found == [("a", "c"), ("b", "c"), ("a", "c")]


def test_a_task_none_of_whose_sources_was_drawn_is_in_every_step_all_the_same() -> None:
    assert together(["a"] * 6, {"a": ["topic"], "b": ["pair"], "c": ["pair"]}) == [("a", "b"), ("a", "c"), ("a", "b")]


FED = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.sampled_from("xyz"), min_size=1, max_size=3, unique=True), min_size=1
)


@given(FED, st.data())
def test_every_step_covers_every_task_and_draws_no_batch_in_vain(tasks: dict[str, list[str]], data) -> None:
    order = data.draw(st.lists(st.sampled_from(sorted(tasks)), min_size=1, max_size=30))
    found = together(order, tasks)
    every = {task for fed in tasks.values() for task in fed}
    for step in found:
        assert {task for name in step for task in tasks[name]} == every
        assert len(set(step)) == len(step)
        assert all(  # no batch is drawn that the batches before it make needless
            any(task not in {t for other in step[:place] for t in tasks[other]} for task in tasks[name])
            for place, name in enumerate(step)
        )
    drawn = sum(map(len, found))
    assert drawn - len(found[-1]) < len(order) <= drawn


def test_a_task_turns_to_its_other_source_where_one_is_at_its_limit_and_the_steps_end_where_all_are() -> None:
    tasks = {"a": ["topic"], "b": ["topic"], "c": ["pair"]}
    found = together(["a", "b", "c"] * 9, tasks, {"a": 1, "b": 3, "c": 9})
    assert found == [("a", "c"), ("b", "c"), ("b", "c"), ("b", "c")]
    assert together(["a", "c"] * 9, tasks, {"a": 9, "b": 9, "c": 0}) == []


@given(FED, st.lists(st.integers(0, 9), min_size=6, max_size=6), st.data())
def test_no_source_is_drawn_beyond_its_limit_and_every_step_is_whole(
    tasks: dict[str, list[str]], caps: list[int], data
) -> None:
    order = data.draw(st.lists(st.sampled_from(sorted(tasks)), min_size=1, max_size=30))
    limits = named(caps)
    found = together(order, tasks, limits)
    used = Counter(name for step in found for name in step)
    assert all(used[name] <= limits[name] for name in tasks)
    every = {task for fed in tasks.values() for task in fed}
    assert all({task for name in step for task in tasks[name]} == every for step in found)
    assert found == together(order, tasks, {name: len(order) for name in tasks})[: len(found)] or any(
        used[name] == limits[name] for name in tasks
    )
