"""The whole run in advance: what every way of sampling draws of two sources that differ in size."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import numpy as np
import pytest

from mtl.data.batches import Feed, Source
from mtl.data.tokenization import TextTokenizer
from mtl.errors import ConfigError
from mtl.training.config import Balancing, GradientMethod, Sampling, SamplingMethod
from mtl.training.plan import Plan, step_plan
from mtl.types import Example
from tests.training.small import settings

EVERY_LOSS = ("famo", *get_args(GradientMethod))
HOW = {
    "proportional": Sampling(),
    "temperature": Sampling(method="temperature", temperature=2.0),
    "round_robin": Sampling(method="round_robin"),
    "shares": Sampling(method="shares", shares={"big": 3.0, "small": 2.0}),
}


def rows(n: int, *tasks: str) -> list[Example]:
    targets = {"topic": "food", "entities": ()}
    return [Example((f"soup {i % 10}",), {task: targets[task] for task in tasks}) for i in range(n)]


BIG, SMALL = Source("big", rows(72, "topic")), Source("small", rows(8, "entities"))  # 18 and 2 batches of 4 rows
TWO = (BIG, SMALL)


def planned(tokenizer: TextTokenizer, sources=TWO, **changes: object) -> Plan:
    return step_plan(sources, tokenizer, settings(**{"steps": None, **changes}))


def drawn(plan: Plan) -> Counter[str]:
    return Counter(name for step in plan.order for name in step)


def test_the_ways_of_sampling_are_all_tried_here() -> None:
    assert set(HOW) == set(get_args(SamplingMethod))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("proportional", {"big": 36, "small": 4}),
        ("temperature", {"big": 30, "small": 10}),  # roots of 18 and 2: 3 to 1
        ("round_robin", {"big": 20, "small": 20}),
        ("shares", {"big": 24, "small": 16}),
    ],
)
@pytest.mark.parametrize("length", [{"steps": 40}, {"epochs": 2.0}])
def test_sources_are_drawn_by_their_method(
    tokenizer: TextTokenizer, method: str, expected: dict[str, int], length: dict[str, float]
) -> None:
    plan = planned(tokenizer, sampling=HOW[method], **length)
    assert len(plan.order) == 40
    assert all(len(step) == 1 for step in plan.order)
    assert drawn(plan) == expected
    assert plan.shares == pytest.approx({name: n / 40 for name, n in expected.items()})
    assert plan.epochs == pytest.approx({"big": expected["big"] / 18, "small": expected["small"] / 2})
    assert plan.steps_per_epoch == 20
    assert plan.sources == {"big", "small"}


def test_turns_are_in_the_order_of_the_sources(tokenizer: TextTokenizer) -> None:
    plan = planned(tokenizer, sampling=HOW["round_robin"], steps=5)
    assert [name for (name,) in plan.order] == ["big", "small", "big", "small", "big"]


@pytest.mark.parametrize("method", ["proportional", "temperature", "shares"])
def test_the_seed_decides_the_order_and_not_the_counts(tokenizer: TextTokenizer, method: str) -> None:
    one, again, two = (planned(tokenizer, sampling=HOW[method], steps=40, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.order != two.order
    assert drawn(one) == drawn(two)


def test_a_weight_counts_a_source_so_often(tokenizer: TextTokenizer) -> None:
    heavier = (BIG, Source("small", SMALL.examples, weight=9.0))
    plan = planned(tokenizer, heavier, epochs=1.0)
    assert drawn(plan) == {"big": 18, "small": 18}
    assert plan.steps_per_epoch == 36


def test_steps_overrule_epochs(tokenizer: TextTokenizer) -> None:
    assert len(planned(tokenizer, steps=7, epochs=5.0).order) == 7
    assert len(planned(tokenizer, epochs=0.5).order) == 10
    assert len(planned(tokenizer, epochs=1e-6).order) == 1


def test_an_order_that_is_there_already_is_kept_and_counted(tokenizer: TextTokenizer) -> None:
    order = [("big", "small"), ("big",), ("big", "small")]
    plan = step_plan(TWO, tokenizer, settings(steps=99), order=order)
    assert plan.order == tuple(order)
    assert plan.shares == pytest.approx({"big": 0.6, "small": 0.4})
    assert plan.epochs == pytest.approx({"big": 3 / 18, "small": 1.0})


# --- caps ---------------------------------------------------------------------------------------------------------


def capped(method: str, cap: float) -> Sampling:
    how = HOW[method]
    return Sampling(method=how.method, temperature=how.temperature, shares=how.shares, max_repeats=cap)


@pytest.mark.parametrize("method", list(HOW))
@pytest.mark.parametrize("cap", [1.0, 2.0, 3.0])
def test_no_source_is_drawn_beyond_its_cap_and_its_steps_go_to_the_other(
    tokenizer: TextTokenizer, method: str, cap: float
) -> None:
    plan = planned(tokenizer, sampling=capped(method, cap), steps=20)
    free = drawn(planned(tokenizer, sampling=HOW[method], steps=20))
    assert all(epochs <= cap for epochs in plan.epochs.values())
    limit = {"big": int(18 * cap), "small": int(2 * cap)}
    small = min(free["small"], limit["small"])
    assert drawn(plan) == {"big": min(20 - small, limit["big"]), "small": small}


@pytest.mark.parametrize("method", list(HOW))
def test_where_every_source_is_at_its_cap_the_run_is_shorter(tokenizer: TextTokenizer, method: str) -> None:
    plan = planned(tokenizer, sampling=capped(method, 1.0), steps=500)
    assert drawn(plan) == {"big": 18, "small": 2}
    assert len(plan.order) == 20


@pytest.mark.parametrize("cap", [1.5, 2.25, 2.5])
@pytest.mark.parametrize("method", list(HOW))
def test_a_cap_between_whole_numbers_holds_too(tokenizer: TextTokenizer, method: str, cap: float) -> None:
    one_batch = (BIG, Source("small", rows(4, "entities")))
    plan = planned(tokenizer, one_batch, sampling=capped(method, cap), steps=500)
    assert all(0 < epochs <= cap for epochs in plan.epochs.values())


@pytest.mark.parametrize("method", list(HOW))
@pytest.mark.parametrize("balancing", ["famo", "pcgrad"])
def test_a_cap_holds_where_every_step_draws_for_every_task(
    tokenizer: TextTokenizer, method: str, balancing: str
) -> None:
    how = {"sampling": capped(method, 2.0), "balancing": Balancing(method=balancing)}
    plan = planned(tokenizer, steps=20, **how)
    assert all(epochs <= 2.0 for epochs in plan.epochs.values())


# --- every loss in each step --------------------------------------------------------------------------------------


@pytest.mark.parametrize("balancing", EVERY_LOSS)
@pytest.mark.parametrize("method", list(HOW))
def test_methods_that_need_every_loss_draw_one_batch_a_task_in_each_step(
    tokenizer: TextTokenizer, method: str, balancing: str
) -> None:
    plan = planned(tokenizer, sampling=HOW[method], balancing=Balancing(method=balancing), steps=15)
    assert [sorted(step) for step in plan.order] == [["big", "small"]] * 15
    assert plan.shares == {"big": 0.5, "small": 0.5}
    assert plan.epochs == pytest.approx({"big": 15 / 18, "small": 15 / 2})
    assert plan.steps_per_epoch == 10


def test_an_epoch_of_joint_steps_draws_as_many_batches_as_one_of_single_steps(tokenizer: TextTokenizer) -> None:
    plan = planned(tokenizer, balancing=Balancing(method="famo"), epochs=1.0)
    assert len(plan.order) == plan.steps_per_epoch == 10
    assert sum(drawn(plan).values()) == 20


def test_sources_of_one_task_take_turns_by_their_shares_in_joint_steps(tokenizer: TextTokenizer) -> None:
    sources = (*TWO, Source("more", rows(36, "topic")))  # 9 batches
    plan = planned(tokenizer, sources, balancing=Balancing(method="famo"), steps=27)
    assert all("small" in step and len(step) == 2 for step in plan.order)
    assert abs(drawn(plan)["big"] - 18) <= 3


def test_a_source_of_two_tasks_is_drawn_once_in_a_joint_step(tokenizer: TextTokenizer) -> None:
    both = Source("both", rows(16, "topic", "entities"))
    plan = planned(tokenizer, [both], balancing=Balancing(method="famo"), steps=6)
    assert plan.order == (("both",),) * 6


@pytest.mark.parametrize("method", ["proportional", "temperature"])
def test_a_task_whose_source_is_tiny_is_in_every_joint_step_of_a_short_run(
    tokenizer: TextTokenizer, method: str
) -> None:
    sources = (Source("big", rows(400, "topic")), Source("small", rows(1, "entities")))
    plan = planned(tokenizer, sources, sampling=HOW[method], balancing=Balancing(method="famo"), steps=3)
    assert [sorted(step) for step in plan.order] == [["big", "small"]] * 3


# --- what is refused or left out ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"big": 1.0}, "'small' is missing"),
        ({"big": 1.0, "small": 1.0, "other": 1.0}, "'other' is none"),
    ],
)
def test_shares_must_name_every_source(tokenizer: TextTokenizer, shares: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"sampling\.shares must name each source once; {words}"):
        planned(tokenizer, sampling=Sampling(method="shares", shares=shares), steps=3)


@pytest.mark.parametrize("method", list(HOW))
def test_a_source_without_rows_is_never_drawn(tokenizer: TextTokenizer, method: str) -> None:
    plan = planned(tokenizer, (BIG, Source("small", [])), sampling=HOW[method], steps=20)
    assert drawn(plan) == {"big": 20}
    assert plan.epochs["small"] == 0.0


@pytest.mark.parametrize("method", ["proportional", "temperature"])
def test_sources_without_rows_alone_are_refused(tokenizer: TextTokenizer, method: str) -> None:
    with pytest.raises(ConfigError, match="nothing can be sampled"):
        planned(tokenizer, [Source("big", [])], sampling=HOW[method], steps=3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": "best"}, r"sampling\.method is 'best'; say proportional, temperature, round_robin, shares"),
        ({"method": "temperature", "temperature": 0.0}, r"sampling\.temperature is 0\.0"),
        ({"temperature": 2.0}, r"sampling\.temperature is 2\.0 and method proportional; say temperature"),
        ({"method": "shares"}, r"sampling\.shares and method: shares go together"),
        ({"shares": {"big": 1.0}}, r"sampling\.shares and method: shares go together"),
        ({"method": "shares", "shares": {"big": -1.0, "small": 2.0}}, r"sampling\.shares are"),
        ({"method": "shares", "shares": {"big": 0.0}}, r"sampling\.shares are"),
        ({"method": "shares", "shares": {"big": float("nan")}}, r"sampling\.shares are"),
        ({"max_repeats": 0.0}, r"sampling\.max_repeats is 0\.0; it must be above 0"),
        ({"max_repeats": float("nan")}, r"sampling\.max_repeats is nan"),
        ({"method": "temperature", "temperature": float("nan")}, r"sampling\.temperature is nan"),
    ],
)
def test_a_setting_out_of_its_limits_is_named(fields: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Sampling(**fields)


def test_a_cap_holds_row_by_row_where_passes_are_cut_into_different_numbers_of_batches(
    tokenizer: TextTokenizer,
) -> None:
    random = np.random.default_rng(1)
    examples = [Example(("a " * int(n),), {"topic": "food"}) for n in random.integers(1, 20, 2500)]
    source = Source("many", examples)
    config = settings(epochs=9, steps=None, batch_rows=64, batch_tokens=90, sampling=Sampling(max_repeats=3))
    plan = step_plan([source], tokenizer, config)
    feed = Feed(source, tokenizer, seed=config.seed, max_tokens=90, max_rows=64)
    seen = Counter(row for _ in plan.order for row in feed.draw().rows)
    assert len({len(feed._runs_of(number)) for number in range(3)}) > 1  # or the test shows nothing
    assert set(seen.values()) == {3}


def test_a_cap_under_which_nothing_is_drawn_is_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.max_repeats allows no batch"):
        step_plan([Source("small", rows(4, "topic"))], tokenizer, settings(sampling=Sampling(max_repeats=0.2)))
