"""Drawn again: what rows say of a score, how wide its limits are, and when a difference is one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.evaluation.bootstrap import Interval, Statistics, difference, intervals, mean_interval
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.tasks import Classification, NamedEntities, Similarity, Task
from mtl.types import Example, LabelScores, PairScore, Span

TOPIC = Classification(name="topic", labels=("food", "law", "sport"))
PLACES = NamedEntities(name="places", labels=("PER", "LOC"))
PAIRS = Similarity(name="pairs")

label = st.sampled_from(TOPIC.labels)
spans = st.lists(st.builds(Span, st.integers(0, 2), st.integers(3, 4), st.sampled_from(PLACES.labels)), max_size=3)
cosine = st.floats(-1, 1)
CASES = [
    (TOPIC, st.tuples(label.map(lambda name: LabelScores(name, {})), label)),
    (PLACES, st.tuples(spans.map(tuple), spans.map(tuple))),
    (PAIRS, st.tuples(cosine.map(PairScore), st.floats(0, 1))),
]


def marks(right: int, rows: int) -> Statistics:
    """Statistics of a classification that has the first `right` of `rows` right."""
    return np.array([[0, 0]] * right + [[1, 0]] * (rows - right), dtype=np.float64)


@pytest.mark.parametrize(("task", "pairs"), CASES, ids=lambda case: getattr(case, "kind", ""))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_selection_of_rows_sums_up_to_their_score(task: Task, pairs, data) -> None:
    rows = data.draw(st.lists(pairs, min_size=1, max_size=10))
    more = data.draw(st.lists(pairs, min_size=1, max_size=10))
    whole = [task.statistics(*zip(*part, strict=True)) for part in (rows, more)]
    assert task.score(*zip(*rows, strict=True)) == task.summarise(whole[0])
    assert task.score(*zip(*rows, *more, strict=True)) == task.summarise(np.concatenate(whole))
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=12))
    assert task.score(*zip(*(rows[i] for i in chosen), strict=True)) == task.summarise(whole[0][chosen])


def test_statistics_by_hand() -> None:
    found = TOPIC.statistics([LabelScores("food", {}), LabelScores("law", {})], ["food", "sport"])
    assert found.tolist() == [[0, 0], [1, 2]]
    assert TOPIC.summarise(found) == {"accuracy": 0.5, "macro_f1": pytest.approx(1 / 3)}
    mine, theirs = (Span(0, 3, "PER"), Span(4, 5, "LOC")), (Span(0, 3, "PER", 0.2), Span(4, 5, "PER"))
    counts = PLACES.statistics([mine, (), mine], [theirs, theirs[:1], ()])
    assert counts.tolist() == [[2, 2, 1], [0, 1, 0], [2, 0, 0]]
    assert PLACES.summarise(counts) == pytest.approx({"precision": 1 / 4, "recall": 1 / 3, "f1": 2 / 7})
    scores = PAIRS.statistics([PairScore(-0.5), PairScore(0.25), PairScore(0.0)], [0.0, 0.5, 1.0])
    assert scores.tolist() == [[-0.5, 0.0], [0.25, 0.5], [0.0, 1.0]]
    assert PAIRS.summarise(scores)["spearman"] == pytest.approx(0.5)


def test_an_evaluation_holds_the_statistics_of_its_rows_in_their_order(predictor: Predictor) -> None:
    texts = ["a", "soup and bread", "U.S. law", "b c"]
    rows = [
        Example((text,), {"topic": name}) for text, name in zip(texts, ("food", "law", "sport", "law"), strict=True)
    ]
    found = evaluate(predictor, "topic", [rows[0], Example(("no target",)), *rows[1:]])
    names = predictor.task("topic").labels
    chosen = [names.index(a["topic"].label) for a in predictor.analyze(texts)]
    assert found.statistics.tolist() == [list(pair) for pair in zip(chosen, (0, 1, 2, 1), strict=True)]
    assert found.metrics["accuracy"] == np.mean(found.statistics[:, 0] == found.statistics[:, 1])


def drawn_rows(task: Task, rows: int) -> Statistics:
    rng = np.random.default_rng(1)
    if task is TOPIC:
        return rng.integers(3, size=(rows, 2)).astype(np.float64)
    if task is PLACES:
        right = rng.integers(3, size=(rows, 1))
        return np.hstack([right + rng.integers(2, size=(rows, 2)), right]).astype(np.float64)
    gold = rng.random((rows, 1))
    return np.hstack([gold + 0.3 * rng.standard_normal((rows, 1)), gold])


@pytest.mark.parametrize("task", [TOPIC, PLACES, PAIRS], ids=lambda task: task.kind)
def test_limits_hold_the_value_and_narrow_with_the_root_of_the_rows(task: Task) -> None:
    few, many = (intervals(task, drawn_rows(task, rows), draws=400) for rows in (100, 1600))
    for name, value in task.summarise(drawn_rows(task, 100)).items():
        assert few[name].value == value
        assert few[name].low < value < few[name].high
        ratio = (few[name].high - few[name].low) / (many[name].high - many[name].low)
        assert ratio == pytest.approx(4, rel=0.35), name


def test_limits_are_those_of_the_seed() -> None:
    found = intervals(TOPIC, marks(30, 50), seed=3)
    assert found == intervals(TOPIC, marks(30, 50), seed=3)
    assert found != intervals(TOPIC, marks(30, 50), seed=4)
    runs = [[marks(30, 50)], [marks(20, 50)]]
    assert mean_interval(TOPIC, runs, seed=3) == mean_interval(TOPIC, runs, seed=3)
    assert mean_interval(TOPIC, runs, seed=3) != mean_interval(TOPIC, runs, seed=4)


@pytest.mark.parametrize(("right", "rows"), [(400, 500), (250, 500), (1900, 2000)])
def test_the_limits_of_an_accuracy_are_the_binomial_ones(right: int, rows: int) -> None:
    share = right / rows
    half = 1.96 * math.sqrt(share * (1 - share) / rows)
    for found in (
        intervals(TOPIC, marks(right, rows), draws=1000)["accuracy"],
        mean_interval(TOPIC, [[marks(right, rows)]], draws=1000),
    ):
        assert found.value == share
        assert (share - found.low, found.high - share) == pytest.approx((half, half), rel=0.15)
        assert found.high - found.low == pytest.approx(2 * half, rel=0.08)


def test_a_mean_is_over_seeds_and_sets_alike_whatever_their_size() -> None:
    runs = [[marks(1, 2), marks(4, 4)], [marks(0, 2), marks(1, 4)]]
    assert mean_interval(TOPIC, runs).value == pytest.approx((0.5 + 1 + 0 + 0.25) / 4)
    theirs = [[marks(2, 2), marks(1, 4)], [marks(0, 2), marks(2, 4)]]
    gap = difference(TOPIC, runs, theirs)
    assert gap.value == pytest.approx((0.5 + 1 + 0 + 0.25) / 4 - (1 + 0.25 + 0 + 0.5) / 4)


def test_equal_runs_differ_by_exactly_nothing() -> None:
    runs = [[marks(3, 10), marks(7, 9)], [marks(5, 10), marks(2, 9)]]
    gap = difference(TOPIC, runs, [[s.copy() for s in run] for run in runs])
    assert gap == Interval(0.0, 0.0, 0.0)
    assert gap.verdict == "same"


def test_a_clear_winner_is_better_and_the_other_worse() -> None:
    ours, theirs = ([[marks(right, 100)] for right in rights] for rights in ((90, 88, 89), (50, 55, 51)))
    won, lost = difference(TOPIC, ours, theirs), difference(TOPIC, theirs, ours)
    assert won.value == pytest.approx(0.37)
    assert 0.2 < won.low < won.value < won.high < 0.54
    assert (won.verdict, lost.verdict) == ("better", "worse")
    assert (lost.value, lost.low, lost.high) == pytest.approx((-won.value, -won.high, -won.low))


def test_rows_are_paired_so_that_a_few_better_rows_tell() -> None:
    gap = difference(TOPIC, [[marks(108, 200)]], [[marks(100, 200)]])  # unpaired: 0.04 +- 0.10
    half = 1.96 * math.sqrt(0.04 * 0.96 / 200)
    assert (gap.low, gap.high) == pytest.approx((0.04 - half, 0.04 + half), abs=0.006)
    assert gap.verdict == "better"


def test_seeds_that_disagree_say_nothing_however_many_rows() -> None:
    right, wrong = marks(500, 500), marks(0, 500)
    gap = difference(TOPIC, [[right], [wrong]], [[wrong], [right]])
    half = 12.706 * math.sqrt(2) / math.sqrt(2)  # Student's t of one degree of freedom, the spread of 1 and -1
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.0, -half, half), abs=1e-3)
    assert gap.verdict == "same"


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_arms_are_told_apart_no_more_often_than_the_limits_say(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    told = 0
    for _ in range(300):
        ours, theirs = ([[marks(int(rng.normal(400, 20)), 500)] for _ in range(seeds)] for _ in range(2))
        told += difference(TOPIC, ours, theirs, draws=40).verdict != "same"
    assert told / 300 < 0.09  # 5 % and three standard errors; a bootstrap over the seeds reaches 18 to 48 %


def test_a_label_that_is_never_right_does_not_come_and_go_between_draws() -> None:
    rows = np.concatenate([marks(399, 400)[:399], np.array([[2.0, 0.0]])])
    found = intervals(TOPIC, rows, draws=200)["macro_f1"]
    assert found.value == pytest.approx(0.499, abs=1e-3)
    assert found.high < 0.51


@pytest.mark.parametrize(
    "theirs",
    [
        [[marks(3, 5)], [marks(3, 5)]],
        [[marks(3, 5), marks(1, 3)]],
        [[marks(3, 5), marks(1, 4)], [marks(3, 5), marks(1, 3)]],
    ],
    ids=["fewer sets", "fewer seeds", "other rows"],
)
def test_what_cannot_be_paired_is_refused(theirs: list[list[Statistics]]) -> None:
    ours = [[marks(3, 5), marks(1, 3)], [marks(2, 5), marks(2, 3)]]
    with pytest.raises(ValueError, match="the same seeds, sets and rows"):
        difference(TOPIC, ours, theirs)
