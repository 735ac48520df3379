"""How losses of several tasks become one step: every method learns both tasks, and its numbers are the paper's."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import get_args

import pytest
import torch
from torch import Tensor

from mtl.data.batches import Source
from mtl.errors import ConfigError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.training.balancing import INSTALL, RETENTION, TORCHJD, Balance, balance_of
from mtl.training.config import Balancing, FreezePolicy, GradientMethod, Retention
from mtl.training.imitation import Ensemble
from mtl.types import Example
from tests.conftest import MakePredictor
from tests.training.small import ALL, PLACES, TOPICS, State, events, same, state, steps

BOTH = ALL[:2]
CPU = torch.device("cpu")
TASKS = ("entities", "topic")
WEIGHTINGS = ("fixed", "initial", "uncertainty", "dwa", "famo")
JOINED = tuple(TORCHJD)
NEEDS = {"upgrad": "quadprog", "cagrad": "cvxpy"}
MOVING = ("encoder.backbone.embeddings.", "encoder.backbone.encoder.layer.", "heads.topic.", "heads.entities.")


def needs(method: str) -> None:
    """Skips the test where what the method needs is not installed."""
    if method in TORCHJD:
        pytest.importorskip("torchjd")
        if method in NEEDS:
            pytest.importorskip(NEEDS[method])


def balance(method: str, **settings: object) -> Balance:
    needs(method)
    return balance_of(Balancing(method=method, **settings), ("a", "b"), CPU)


def numbers(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def weights(of: Balance, losses: Mapping[str, Tensor]) -> dict[str, float]:
    with torch.no_grad():
        return {name: float(of.weight(name, loss)) for name, loss in losses.items()}


def change(before: State, after: State, prefix: str) -> Tensor:
    """By how much the numbers under a prefix differ, end to end."""
    return torch.cat([(after[name] - before[name]).flatten() for name in after if name.startswith(prefix)])


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*WEIGHTINGS, *JOINED])
def test_both_tasks_are_learned_by_encoder_and_heads(predictor: Predictor, method: str) -> None:
    needs(method)
    before = state(predictor)
    balancing = Balancing(method=method, window=10)
    found = steps(events(predictor, BOTH, balancing=balancing, steps=150, batch_rows=8, head_lr=2e-2))
    assert len(found) == 150
    after = state(predictor)
    assert {n for n in after if not torch.equal(after[n], before[n])} == {n for n in after if n.startswith(MOVING)}
    assert evaluate(predictor, "topic", TOPICS).metrics["accuracy"] == 1.0
    assert evaluate(predictor, "entities", PLACES).metrics["f1"] == 1.0
    if balancing.needs_every_loss:
        assert all(e.losses.keys() == set(TASKS) and e.source.count(" + ") == 1 for e in found)
    else:
        assert all(len(e.losses) == 1 for e in found)
    assert all(e.weights.keys() == e.losses.keys() for e in found)


def weights_of_a_run(predictor: Predictor, n: int = 40, **settings: object) -> list[Mapping[str, float]]:
    return [e.weights for e in steps(events(predictor, BOTH, balancing=Balancing(**settings), steps=n))]


def test_fixed_weights_are_those_of_the_recipe_and_1_where_it_names_none(predictor: Predictor) -> None:
    seen = weights_of_a_run(predictor, weights={"topic": 0.25})
    assert {(name, value) for step in seen for name, value in step.items()} == {("topic", 0.25), ("entities", 1.0)}


def test_initial_weights_stay_one_over_the_first_loss(predictor: Predictor) -> None:
    found = steps(events(predictor, BOTH, balancing=Balancing(method="initial"), steps=40))
    first: dict[str, float] = {}
    for event in found:
        for name, loss in event.losses.items():
            first.setdefault(name, loss)
            assert event.weights[name] == pytest.approx(1 / first[name], rel=1e-5)
    assert first.keys() == set(TASKS)


def test_learned_weights_begin_at_1_and_rise_as_losses_fall_but_not_beyond_the_clamp(predictor: Predictor) -> None:
    seen = weights_of_a_run(predictor, n=200, method="uncertainty", clamp=0.5)
    by_task = {name: [step[name] for step in seen if name in step] for name in TASKS}
    assert seen[0][next(iter(seen[0]))] == 1.0
    for values in by_task.values():
        assert max(values) == pytest.approx(math.exp(0.5), rel=1e-5)
        assert min(values) >= math.exp(-0.5) - 1e-6


def test_averaged_weights_are_1_in_the_first_two_windows_and_then_follow_the_means(predictor: Predictor) -> None:
    found = steps(events(predictor, BOTH, balancing=Balancing(method="dwa", window=10), steps=40, seed=1))
    means = [
        {
            name: sum(values) / len(values)
            for name in TASKS
            if (values := [e.losses[name] for e in found[start : start + 10] if name in e.losses])
        }
        for start in range(0, 30, 10)
    ]
    assert all(window.keys() == set(TASKS) for window in means)
    assert all(value == 1.0 for event in found[:20] for value in event.weights.values())
    for later in (1, 2):
        powers = {name: math.exp(means[later][name] / means[later - 1][name] / 2.0) for name in TASKS}
        for event in found[10 * later + 10 : 10 * later + 20]:
            for name, value in event.weights.items():
                assert value == pytest.approx(2 * powers[name] / sum(powers.values()), rel=1e-4)


def test_famo_weights_begin_equal_and_always_sum_to_1(predictor: Predictor) -> None:
    seen = weights_of_a_run(predictor, method="famo", rate=0.1)
    assert seen[0] == {"topic": 0.5, "entities": 0.5}
    assert all(sum(step.values()) == pytest.approx(1.0) for step in seen)
    assert abs(seen[-1]["topic"] - 0.5) > 0.01


@pytest.mark.parametrize("method", JOINED)
def test_joined_gradients_weigh_what_the_recipe_says(predictor: Predictor, method: str) -> None:
    needs(method)
    seen = weights_of_a_run(predictor, n=3, method=method, weights={"topic": 0.5})
    assert seen == [{"entities": 1.0, "topic": 0.5}] * 3


def test_a_weight_of_0_moves_neither_encoder_nor_head(predictor: Predictor) -> None:
    before = state(predictor)
    found = events(predictor, ALL[:1], balancing=Balancing(weights={"topic": 0.0}), steps=10, weight_decay=0.0)
    assert same(state(predictor), before)
    assert all(e.losses["topic"] > 0 for e in steps(found))


@pytest.mark.parametrize("method", ["famo", "pcgrad", "upgrad"])
def test_where_gradients_are_joined_a_weight_of_0_spares_the_encoder_and_the_head_learns(
    make_still: MakePredictor, method: str
) -> None:
    needs(method)
    options = {"steps": 1, "weight_decay": 0.0, "clip": 1e9, "warmup": 0.0}
    joined, alone = make_still(), make_still()
    before = state(joined)
    balancing = Balancing(method=method, weights={"topic": 0.0})
    events(joined, BOTH, balancing=balancing, order=[("topics", "places")], **options)
    events(alone, BOTH, order=[("places",)], **options)
    mine, wanted = (change(before, state(predictor), "encoder.") for predictor in (joined, alone))
    assert float(torch.cosine_similarity(mine, wanted, dim=0)) > 0.99
    assert change(before, state(joined), "heads.topic.").abs().max() > 0


@pytest.mark.parametrize("method", ["famo", *JOINED])
def test_a_task_that_does_not_move_the_encoder_leaves_the_other_able_to_learn(
    predictor: Predictor, method: str
) -> None:
    needs(method)
    freeze = FreezePolicy(gradient={"topic": 0.0})
    options = {"steps": 150, "batch_rows": 8, "head_lr": 2e-2}
    found = steps(events(predictor, BOTH, balancing=Balancing(method=method), freeze=freeze, **options))
    assert all(math.isfinite(e.grad_norm) for e in found)
    assert evaluate(predictor, "topic", TOPICS).metrics["accuracy"] == 1.0
    assert evaluate(predictor, "entities", PLACES).metrics["f1"] == 1.0


@pytest.mark.parametrize("method", ["famo", "pcgrad"])
def test_retention_joins_as_an_objective_of_its_own(make_predictor: MakePredictor, method: str) -> None:
    needs(method)

    def moved(retention: Retention | None) -> float:
        predictor = make_predictor()
        texts = [row.texts[0] for row in TOPICS]
        before = predictor.encode(texts)
        events(predictor, BOTH, balancing=Balancing(method=method), retention=retention, steps=40)
        return float(1 - (before * predictor.encode(texts)).sum(1).mean())

    assert moved(Retention(cosine=20)) < moved(None) / 2


@pytest.mark.parametrize("method", ["famo", "pcgrad"])
def test_gradients_are_joined_where_parts_of_the_encoder_join_late(predictor: Predictor, method: str) -> None:
    needs(method)
    before = state(predictor)
    freeze = FreezePolicy(gradual=0.25)
    found = steps(events(predictor, BOTH, balancing=Balancing(method=method), freeze=freeze, steps=8))
    assert len(found) == 8
    after = state(predictor)
    assert {n for n in after if not torch.equal(after[n], before[n])} == {n for n in after if n.startswith(MOVING)}


@pytest.mark.parametrize("method", ["famo", "pcgrad"])
def test_a_batch_in_which_one_of_the_sources_tasks_has_no_target_is_no_error(predictor: Predictor, method: str) -> None:
    needs(method)
    mixed = [Source("mixed", [*TOPICS, *PLACES])]  # a row speaks for one task or for the other
    found = steps(events(predictor, mixed, balancing=Balancing(method=method), steps=30, batch_rows=2))
    assert len(found) == 30
    assert {name for event in found for name in event.losses} == set(TASKS)


@pytest.mark.parametrize("method", ["famo", "pcgrad"])
def test_a_source_too_small_for_its_share_of_a_short_run_still_gives_every_step_its_loss(
    predictor: Predictor, method: str
) -> None:
    needs(method)
    sources = [Source("topics", TOPICS), Source("places", PLACES[:1])]
    found = steps(events(predictor, sources, balancing=Balancing(method=method), steps=5, batch_rows=1))
    assert [e.losses.keys() for e in found] == [set(TASKS)] * 5


# --- formulas -----------------------------------------------------------------------------------------------------


def test_weighed_losses_are_summed_by_weight_and_share() -> None:
    one = balance("fixed", weights={"a": 3.0})
    assert float(one.weigh(numbers(a=2.0, b=5.0), {"a": 0.5, "b": 1.0})) == 3 * 2 * 0.5 + 5


def test_initial_divides_by_the_loss_that_a_task_was_first_seen_with() -> None:
    one = balance("initial", weights={"b": 2.0})
    assert weights(one, numbers(a=4.0)) == {"a": 0.25}
    one.observe(numbers(a=4.0))
    assert weights(one, numbers(a=1.0, b=10.0)) == pytest.approx({"a": 0.25, "b": 0.2})
    one.observe(numbers(a=1.0, b=10.0))
    one.observe(numbers(a=0.5, b=5.0))
    assert weights(one, numbers(a=0.1, b=0.1)) == pytest.approx({"a": 0.25, "b": 0.2})
    assert float(one.weigh(numbers(a=2.0, b=5.0), {"a": 1.0, "b": 1.0})) == pytest.approx(0.5 + 1.0)


def test_uncertainty_weighs_by_exp_of_minus_s_and_pays_s_for_it() -> None:
    one = balance("uncertainty", weights={"b": 2.0})
    one.load({"log_variance": torch.tensor([0.5, -1.0])})
    assert weights(one, numbers(a=1.0, b=1.0)) == pytest.approx({"a": math.exp(-0.5), "b": 2 * math.exp(1.0)})
    total = float(one.weigh(numbers(a=3.0, b=0.1), {"a": 1.0, "b": 1.0}).detach())
    assert total == pytest.approx(math.exp(-0.5) * 3 + 0.5 + 2 * math.exp(1) * 0.1 - 1.0)
    half = float(one.weigh(numbers(a=3.0), {"a": 0.5}).detach())
    assert half == pytest.approx((math.exp(-0.5) * 3 + 0.5) / 2)


def test_uncertainty_at_its_minimum_weighs_a_constant_loss_by_one_over_it() -> None:
    one = balance("uncertainty")
    sgd = torch.optim.SGD(one.parameters, lr=0.05)
    losses = numbers(a=4.0, b=0.2)
    for _ in range(500):
        sgd.zero_grad()
        one.weigh(losses, {"a": 1.0, "b": 1.0}).backward()
        sgd.step()
    assert weights(one, losses) == pytest.approx({"a": 1 / 4, "b": 1 / 0.2}, rel=1e-3)


@pytest.mark.parametrize("clamp", [1.0, 3.0])
def test_uncertainty_never_weighs_a_part_beyond_its_clamp(clamp: float) -> None:
    one = balance("uncertainty", clamp=clamp)
    one.load({"log_variance": torch.tensor([50.0, -50.0])})
    total = float(one.weigh(numbers(a=1.0, b=1.0), {"a": 1.0, "b": 1.0}).detach())
    assert total == pytest.approx(math.exp(-clamp) + math.exp(clamp), rel=1e-5)
    assert weights(one, numbers(a=1.0, b=1.0)) == pytest.approx({"a": math.exp(-clamp), "b": math.exp(clamp)})


def test_dwa_weighs_by_the_softmax_of_the_ratios_of_means() -> None:
    one = balance("dwa", window=2, temperature=2.0, weights={"b": 10.0})
    for a, b in ((5.0, 2.0), (3.0, 2.0)):
        assert weights(one, numbers(a=a, b=b)) == pytest.approx({"a": 1.0, "b": 10.0})
        one.observe(numbers(a=a, b=b))
    assert weights(one, numbers(a=1.0, b=1.0)) == pytest.approx({"a": 1.0, "b": 10.0})
    one.observe(numbers(a=1.0, b=3.0))
    one.observe(numbers(a=3.0, b=1.0))  # means 4 -> 2 and 2 -> 2: ratios 0.5 and 1
    low, high = math.exp(0.25), math.exp(0.5)
    expected = {"a": 2 * low / (low + high), "b": 10 * 2 * high / (low + high)}
    assert weights(one, numbers(a=1.0, b=1.0)) == pytest.approx(expected, rel=1e-5)


def test_dwa_takes_a_task_that_a_window_did_not_draw_as_one_that_stood_still() -> None:
    one = balance("dwa", window=1, temperature=1.0)
    one.observe(numbers(a=4.0, b=2.0))
    one.observe(numbers(a=1.0))  # ratios 1/4 and 1
    low, high = math.exp(0.25), math.exp(1.0)
    found = weights(one, numbers(a=1.0, b=1.0))
    assert found == pytest.approx({"a": 2 * low / (low + high), "b": 2 * high / (low + high)}, rel=1e-5)


def test_famo_lets_the_task_whose_loss_fell_less_count_more() -> None:
    one = balance("famo", rate=0.025)
    one.follow(numbers(a=1.0, b=1.0), numbers(a=0.5, b=0.9))
    first = weights(one, numbers(a=1.0, b=1.0))
    # Adam's first step is its rate: logits -0.025 and 0.025
    assert first == pytest.approx({"a": 1 / (1 + math.exp(0.05)), "b": 1 / (1 + math.exp(-0.05))}, rel=1e-5)
    for _ in range(20):
        one.follow(numbers(a=1.0, b=1.0), numbers(a=0.5, b=0.9))
    later = weights(one, numbers(a=1.0, b=1.0))
    assert later["b"] > first["b"]
    assert sum(later.values()) == pytest.approx(1.0)


def test_famo_joins_by_weights_over_losses_and_adds_retention_as_it_is() -> None:
    one = balance("famo")
    rows = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.0, 1.0])}
    losses = numbers(a=1.0, b=4.0)  # 0.5 / 1 and 0.5 / 4, scaled to sum to 1: 0.8 and 0.2
    torch.testing.assert_close(one.join(rows, losses), torch.tensor([0.8, 0.2]))
    kept = {**rows, RETENTION: torch.tensor([1.0, -1.0])}
    torch.testing.assert_close(one.join(kept, losses), torch.tensor([1.8, -0.8]))


CONFLICTING = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([-0.5, 1.0])}
CLASSES = {
    "pcgrad": "PCGrad",
    "cagrad": "CAGrad",
    "aligned_mtl": "AlignedMTL",
    "upgrad": "UPGrad",
    "mgda": "MGDA",
    "imtl_g": "IMTLG",
}
BY_HAND = {
    "pcgrad": (0.8, 1.4),  # each minus its part along the other, (0.8, 0.4) and (0, 1), summed
    "upgrad": (0.4, 0.7),  # the mean of the same two
    "mgda": (4 / 13, 6 / 13),  # the point nearest to 0 on the line between them
}


@pytest.mark.parametrize("method", JOINED)
def test_conflicting_gradients_are_joined_as_torchjd_does(method: str) -> None:
    one = balance(method)
    joined = one.join(CONFLICTING, numbers(a=1.0, b=1.0))
    options = {"c": 0.5} if method == "cagrad" else {}
    aggregator = getattr(importlib.import_module("torchjd.aggregation"), CLASSES[method])(**options)
    expected = aggregator(torch.stack(list(CONFLICTING.values())))
    torch.testing.assert_close(joined, expected)
    if method in BY_HAND:
        torch.testing.assert_close(joined, torch.tensor(BY_HAND[method]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("method", JOINED)
def test_a_joined_gradient_conflicts_with_neither_task(method: str) -> None:
    one = balance(method)
    joined = one.join(CONFLICTING, numbers(a=1.0, b=1.0))
    assert all(float(joined @ row) > 0 for row in CONFLICTING.values())
    assert float(CONFLICTING["a"] @ CONFLICTING["b"]) < 0


@pytest.mark.parametrize("method", ["pcgrad", "upgrad"])
def test_no_task_is_worked_against_however_strong_the_other_is(method: str) -> None:
    one = balance(method)
    strong = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([-3.0, 1.0])}
    plain = sum(strong.values())
    joined = one.join(strong, numbers(a=1.0, b=1.0))
    assert float(torch.cosine_similarity(plain, strong["a"], dim=0)) < -0.8
    assert all(float(torch.cosine_similarity(joined, row, dim=0)) > -0.02 for row in strong.values())


def test_weights_of_the_recipe_scale_gradients_before_they_are_joined() -> None:
    one = balance("pcgrad", weights={"b": 4.0})
    joined = one.join(CONFLICTING, numbers(a=1.0, b=1.0))
    torch.testing.assert_close(joined, torch.tensor([0.8 + 0.0, 0.4 + 4.0]))


@pytest.mark.parametrize("method", JOINED)
def test_gradients_that_do_not_conflict_keep_their_direction(method: str) -> None:
    joined = balance(method).join({"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.0, 1.0])}, {})
    assert float(joined[0] / joined[1]) == pytest.approx(1.0, rel=1e-3)


# --- state --------------------------------------------------------------------------------------------------------

LOSSES = [numbers(a=4.0 / n, b=2.0 / (n**0.5)) for n in range(1, 13)]


def advance(one: Balance, losses: Mapping[str, Tensor]) -> dict[str, float]:
    """What a step does with a method, without a model; its learned weights fall by plain gradients."""
    shares = {"a": 1.0, "b": 1.0}
    if one.parameters:
        (gradient,) = torch.autograd.grad(one.weigh(losses, shares), one.parameters)
        with torch.no_grad():
            one.parameters[0].sub_(0.1 * gradient)
    one.observe(losses)
    if hasattr(one, "follow"):
        one.follow(losses, {name: loss * (0.9 if name == "a" else 0.7) for name, loss in losses.items()})
    return weights(one, losses)


@pytest.mark.parametrize("method", WEIGHTINGS)
@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_method_goes_on_from_its_state_as_if_never_interrupted(method: str, at: int) -> None:
    settings = {"window": 2, "rate": 0.1}
    unbroken, first, second = (balance(method, **settings) for _ in range(3))
    expected = [advance(unbroken, losses) for losses in LOSSES]
    assert [advance(first, losses) for losses in LOSSES[:at]] == expected[:at]
    second.load({name: value.detach().clone() for name, value in first.state().items()})
    assert [advance(second, losses) for losses in LOSSES[at:]] == expected[at:]
    assert method == "fixed" or expected[0] != expected[-1] or method == "initial"


def test_the_methods_that_remember_say_what() -> None:
    found = {}
    for method in WEIGHTINGS:
        one = balance(method)
        advance(one, LOSSES[0])
        found[method] = set(one.state())
    assert found == {
        "fixed": set(),
        "initial": {"a", "b"},
        "uncertainty": {"log_variance"},
        "dwa": {"sums", "counts", "means", "ratios", "steps"},
        "famo": {"logits", "step", "exp_avg", "exp_avg_sq"},
    }


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", WEIGHTINGS)
def test_a_weight_of_an_unknown_task_is_named_with_those_that_are_trained(predictor: Predictor, method: str) -> None:
    balancing = Balancing(method=method, weights={"mood": 2.0})
    with pytest.raises(ConfigError, match=r"balancing\.weights names 'mood'; trained are entities, topic"):
        events(predictor, BOTH, balancing=balancing)


@pytest.mark.parametrize("freeze", [FreezePolicy(encoder=True), FreezePolicy(layers=2)])
@pytest.mark.parametrize("method", ["famo", *get_args(GradientMethod)])
def test_gradients_cannot_be_joined_on_a_frozen_encoder(
    predictor: Predictor, method: str, freeze: FreezePolicy
) -> None:
    with pytest.raises(ConfigError, match=rf"balancing\.method {method} joins gradients on the encoder, which is f"):
        events(predictor, BOTH, balancing=Balancing(method=method), freeze=freeze)


def test_an_unknown_method_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"balancing\.method is 'best'; say fixed, initial, .*, imtl_g"):
        Balancing(method="best")


@pytest.mark.parametrize("method", get_args(GradientMethod))
def test_every_gradient_method_that_a_recipe_may_name_can_be_built_or_says_what_to_install(method: str) -> None:
    pytest.importorskip("torchjd")
    said = ""
    try:
        joined = balance_of(Balancing(method=method), TASKS, CPU).join(CONFLICTING, numbers(a=1.0, b=1.0))
    except ConfigError as error:
        said = str(error)
    if said:
        assert said == f"balancing.method {method} needs more than torchjd alone: {INSTALL}"
    else:
        assert joined.shape == (2,)


@pytest.mark.parametrize("method", JOINED)
def test_without_torchjd_a_sentence_says_what_to_install(predictor: Predictor, monkeypatch, method: str) -> None:
    monkeypatch.setattr("mtl.training.balancing.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"balancing\.method {method} needs torchjd: pip install 'torchjd\["):
        events(predictor, BOTH, balancing=Balancing(method=method))


@pytest.mark.parametrize("method", WEIGHTINGS)
def test_weights_on_losses_need_no_torchjd(predictor: Predictor, monkeypatch, method: str) -> None:
    monkeypatch.setattr("mtl.training.balancing.importlib.util.find_spec", lambda name: None)
    assert len(steps(events(predictor, BOTH, balancing=Balancing(method=method), steps=2))) == 2


@pytest.mark.parametrize("field", ["temperature", "window", "rate", "clamp"])
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_a_setting_out_of_its_limits_is_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"balancing\.{field} is {value}; it must be above 0"):
        Balancing(**{field: value})


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_a_weight_out_of_its_limits_is_named_with_its_task(value: float) -> None:
    with pytest.raises(ConfigError, match=rf"balancing\.weights of 'topic' is {value}; it must be 0 or more"):
        Balancing(weights={"topic": value})


def test_one_task_alone_weighs_1(predictor: Predictor) -> None:
    rows = [Example((f"soup {i}",), {"topic": "food"}) for i in range(4)]
    found = steps(events(predictor, [Source("s", rows)], balancing=Balancing(method="famo"), steps=2))
    assert [e.weights for e in found] == [{"topic": 1.0}] * 2


@pytest.mark.parametrize("method", [*WEIGHTINGS, "pcgrad"])
def test_a_task_that_only_a_teacher_speaks_for_is_learned_too(make_predictor: MakePredictor, method: str) -> None:
    needs(method)
    student = make_predictor()
    before = state(student)
    teaching = Ensemble([make_predictor()], student)
    balancing = Balancing(method=method, window=2)
    found = steps(events(student, ALL[:1], ensemble=teaching, balancing=balancing, steps=5))
    assert [e.losses.keys() for e in found] == [{"topic"}] * 5
    assert change(before, state(student), "heads.entities.").abs().max() > 0


def test_initial_takes_the_first_loss_that_is_not_0() -> None:
    found = balance("initial")
    assert weights(found, numbers(a=0.0, b=2.0)) == {"a": 1.0, "b": 0.5}
    found.observe(numbers(a=0.0, b=2.0))
    assert weights(found, numbers(a=4.0, b=1.0)) == {"a": 1.0, "b": 0.5}
    found.observe(numbers(a=4.0, b=1.0))
    assert weights(found, numbers(a=1.0, b=9.0)) == {"a": 0.25, "b": 0.5}


def test_famo_leaves_a_loss_of_0_out_and_the_others_as_they_were() -> None:
    found = balance("famo")
    rows = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.0, 1.0])}
    torch.testing.assert_close(found.join(rows, numbers(a=0.0, b=2.0)), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(found.join(rows, numbers(a=0.0, b=0.0)), torch.tensor([0.0, 0.0]))
