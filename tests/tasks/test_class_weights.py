"""What a row of each label weighs in the loss, and which metric stands for a task while it is trained."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

import mtl
from mtl.data.batches import Source
from mtl.errors import ConfigError
from mtl.inference.predictor import Predictor
from mtl.tasks import Classification, NamedEntities, Similarity, Task, from_spec
from mtl.tasks.base import MISSING
from mtl.tasks.classification import balanced
from mtl.training.events import Evaluated, RunEnded
from mtl.training.recipe import load_recipe
from mtl.training.recipe_data import build_tasks
from mtl.types import Example
from tests.conftest import MakePredictor
from tests.training.small import ALL, PLACES, TOPICS, ended, events, state

LABELS = ("food", "law", "sport")


def classifier(**settings: object) -> Classification:
    return Classification(**{"name": "topic", "labels": LABELS, **settings})


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_weights", "expected"),
    [
        ((), ()),
        ((1, 2, 0.5), (1.0, 2.0, 0.5)),
        ([1, 2, 0.5], (1.0, 2.0, 0.5)),
        ({"law": 3}, (1.0, 3.0, 1.0)),
        ({"sport": 0.5, "food": 2}, (2.0, 1.0, 0.5)),
        ({}, (1.0, 1.0, 1.0)),
    ],
)
def test_weights_are_kept_in_the_order_of_the_labels(given_weights: object, expected: tuple[float, ...]) -> None:
    assert classifier(class_weights=given_weights).class_weights == expected


def test_labels_that_are_numbers_can_be_weighed() -> None:
    assert Classification(name="stars", labels=(1, 2), class_weights={2: 5}).class_weights == (1.0, 5.0)


def test_a_weight_of_an_unknown_label_is_named_with_the_labels_that_there_are() -> None:
    words = "task 'topic': class_weights names music; it has food, law, sport"
    with pytest.raises(ConfigError, match=words):
        classifier(class_weights={"music": 2.0, "law": 1.0})


@pytest.mark.parametrize(
    "wrong",
    [
        (1.0, 2.0),
        (1.0, 2.0, 3.0, 4.0),
        (1.0, 0.0, 1.0),
        (1.0, -1.0, 1.0),
        (1.0, math.nan, 1.0),
        (1.0, math.inf, 1.0),
        (1.0, "2", 1.0),
        {"law": 0},
        {"law": "much"},
        {"law": None},
        "even",
        2.0,
        None,
    ],
)
def test_a_wrong_weight_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"task 'topic': class_weights is .*; say balanced, or \{label: weight\}"):
        classifier(class_weights=wrong)


def test_weights_survive_a_spec_and_a_checkpoint(make_predictor: MakePredictor, tmp_path: Path) -> None:
    task = classifier(class_weights={"law": 3.0}, metric="macro_f1")
    assert from_spec(json.loads(json.dumps(task.to_spec()))) == task
    loaded = mtl.load(make_predictor(tasks=(task,)).save(tmp_path / "model"), device="cpu")
    assert loaded.task("topic") == task


# --- loss ---------------------------------------------------------------------------------------------------------

LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 2, MISSING, 0, 2])
WEIGHTS = (0.5, 4.0, 1.5)


def test_the_loss_is_the_weighted_sum_over_targets_and_not_over_weights() -> None:
    found = classifier(class_weights=WEIGHTS).loss(LOGITS, TARGETS)
    by_hand = [
        WEIGHTS[target] * -math.log(math.exp(row[target]) / sum(math.exp(value) for value in row))
        for row, target in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True)
        if target != MISSING
    ]
    assert float(found) == pytest.approx(sum(by_hand) / 6, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs_but_for_what_it_is_divided_by(smoothing: float) -> None:
    weight = torch.tensor(WEIGHTS)
    options = {"weight": weight, "ignore_index": MISSING, "label_smoothing": smoothing}
    found = float(classifier(class_weights=WEIGHTS, label_smoothing=smoothing).loss(LOGITS, TARGETS))
    known = TARGETS[TARGETS != MISSING]
    theirs = float(functional.cross_entropy(LOGITS, TARGETS, **options))  # a mean over weights
    assert found == pytest.approx(theirs * float(weight[known].sum()) / len(known), rel=1e-5)


def test_equal_weights_are_as_good_as_none() -> None:
    plain = classifier().loss(LOGITS, TARGETS)
    assert float(classifier(class_weights=(1, 1, 1)).loss(LOGITS, TARGETS)) == pytest.approx(float(plain))
    assert float(classifier(class_weights=(2, 2, 2)).loss(LOGITS, TARGETS)) == pytest.approx(2 * float(plain))


def test_a_batch_without_targets_has_no_loss() -> None:
    assert float(classifier(class_weights=WEIGHTS).loss(LOGITS, torch.full((7,), MISSING))) == 0.0


def test_a_heavier_label_pulls_harder() -> None:
    def pull(weights: tuple[float, ...]) -> torch.Tensor:
        logits = torch.zeros(2, 3, requires_grad=True)
        classifier(class_weights=weights).loss(logits, torch.tensor([0, 1])).backward()
        return logits.grad

    torch.testing.assert_close(pull((1.0, 5.0, 1.0))[1], 5 * pull(())[1])
    torch.testing.assert_close(pull((1.0, 5.0, 1.0))[0], pull(())[0])


def test_a_rare_label_is_preferred_where_it_is_weighed_up(make_predictor: MakePredictor) -> None:
    same_text = [Source("s", [Example(("soup",), {"topic": t}) for t in ["food"] * 6 + ["law"] * 2])]

    def law(weights: object) -> float:
        predictor = make_predictor(tasks=(classifier(class_weights=weights),))
        events(predictor, same_text, steps=100, batch_rows=8, head_lr=2e-2)
        return float(predictor.analyze(["soup"])[0]["topic"].scores["law"])

    assert law(()) == pytest.approx(2 / 8, abs=0.05)
    assert law({"law": 9.0}) == pytest.approx(18 / (18 + 6), abs=0.05)


# --- balanced -----------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=60))
def test_balanced_weights_are_those_of_scikit_learn(gold: list[str]) -> None:
    there = [label for label in LABELS if label in gold]
    found = balanced(gold, LABELS)
    expected = compute_class_weight("balanced", classes=np.array(there), y=np.array(gold))
    assert [found[label] for label in there] == pytest.approx(expected.tolist())
    assert all(found[label] == 1.0 for label in LABELS if label not in gold)


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=60))
def test_balanced_weights_make_labels_weigh_alike_and_rows_1_on_average(gold: list[str]) -> None:
    found = balanced(gold, LABELS)
    totals = {label: gold.count(label) * found[label] for label in gold}
    assert len({round(total, 6) for total in totals.values()}) == 1
    assert sum(totals.values()) == pytest.approx(len(gold))


RECIPE = """
encoder: some/encoder
tasks:
  mood: {type: classification, labels: LABELS, class_weights: balanced}
sources:
  notes: {tasks: [mood], train: train.jsonl, map: {fine: good}}
"""


def recipe_of(folder: Path, labels: list[object], wanted: str = "from data", **changes: str) -> Path:
    lines = [json.dumps({"text": f"text {i}", "label": label}) for i, label in enumerate(labels)]
    (folder / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    path = folder / "recipe.yaml"
    text = RECIPE.replace("LABELS", wanted)
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_may_ask_for_balanced_weights(tmp_path: Path) -> None:
    rows = ["good"] * 3 + ["fine"] * 3 + ["bad"] * 2  # fine is mapped to good: 6 and 2
    (task,) = build_tasks(load_recipe(recipe_of(tmp_path, rows)), tmp_path)
    assert task.labels == ("bad", "good")
    assert task.class_weights == pytest.approx((8 / 2 / 2, 8 / 2 / 6))


def test_balanced_weights_of_a_recipe_follow_the_order_of_its_labels(tmp_path: Path) -> None:
    path = recipe_of(tmp_path, ["good"] * 3 + ["bad"], wanted="[good, mixed, bad]")
    (task,) = build_tasks(load_recipe(path), tmp_path)
    assert task.class_weights == pytest.approx((4 / 2 / 3, 1.0, 4 / 2 / 1))


def test_labels_that_are_numbers_are_counted_as_they_are_read(tmp_path: Path) -> None:
    (task,) = build_tasks(load_recipe(recipe_of(tmp_path, [1, 1, 1.0, 2], wanted="[1, 2]")), tmp_path)
    assert task.class_weights == pytest.approx((4 / 2 / 3, 4 / 2 / 1))


def test_rows_beyond_the_limit_of_a_source_and_rows_without_a_label_do_not_count(tmp_path: Path) -> None:
    rows = ["good", "bad", None, "good", "good", "bad", "bad", "bad"]
    path = recipe_of(tmp_path, rows)
    (task,) = build_tasks(load_recipe(path, ["sources.notes.limit=5"]), tmp_path)
    assert task.class_weights == pytest.approx((4 / 2 / 1, 4 / 2 / 3))


def test_a_task_of_another_type_has_no_class_weights(tmp_path: Path) -> None:
    path = recipe_of(tmp_path, ["good", "bad"], wanted="[good, bad]", **{"type: classification": "type: similarity"})
    with pytest.raises(ConfigError, match="class_weights"):
        build_tasks(load_recipe(path), tmp_path)


# --- the metric that stands for a task ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "metrics"),
    [
        (classifier, "accuracy, macro_f1"),
        (lambda **s: NamedEntities(name="topic", labels=("LOC",), **s), "precision, recall, f1"),
        (lambda **s: Similarity(name="topic", **s), ", ".join(Similarity.metrics)),
    ],
)
def test_a_metric_that_a_task_is_not_scored_by_is_refused_with_those_that_it_is(make, metrics: str) -> None:
    with pytest.raises(ConfigError, match=rf"task 'topic': metric is 'bleu'; say one of {metrics}"):
        make(metric="bleu")
    assert [make(metric=metric).metric for metric in metrics.split(", ")] == metrics.split(", ")


def two_tasks(**metrics: str) -> tuple[Task, ...]:
    return (
        classifier(metric=metrics.get("topic", "")),
        NamedEntities(name="entities", labels=("PER", "LOC"), hidden=16, metric=metrics.get("entities", "")),
    )


# three rows of one label and one of another: accuracy and macro F1 differ
HELD = (Source("topics", TOPICS[:4]), Source("places", PLACES))


def validated(predictor: Predictor, **changes: object) -> tuple[list[Evaluated], RunEnded]:
    seen = events(predictor, ALL[:2], HELD, steps=40, validate_every=5, **changes)
    return [e for e in seen if isinstance(e, Evaluated)], ended(seen)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {"topic": "accuracy", "entities": "f1"}),
        ({"topic": "macro_f1"}, {"topic": "macro_f1", "entities": "f1"}),
        ({"entities": "recall"}, {"topic": "accuracy", "entities": "recall"}),
        ({"topic": "macro_f1", "entities": "precision"}, {"topic": "macro_f1", "entities": "precision"}),
    ],
)
@pytest.mark.parametrize(("select_by", "of"), [("mean", np.mean), ("worst", min)])
def test_a_run_is_judged_by_the_metric_of_each_task(
    make_predictor: MakePredictor, chosen: dict[str, str], expected: dict[str, str], select_by: str, of
) -> None:
    found, last = validated(make_predictor(tasks=two_tasks(**chosen)), select_by=select_by)
    differing = set()
    for event in found:
        for score in event.scores:
            assert score.primary == score.metrics[expected[score.task]]
            differing |= {score.task} if len(set(score.metrics.values())) > 1 else set()
        assert event.composite == pytest.approx(of([score.primary for score in event.scores]))
    assert differing == {"topic", "entities"}  # or a wrong metric would pass
    assert last.best.composite == max(event.composite for event in found)


def test_the_worst_task_decides_which_weights_are_kept(make_predictor: MakePredictor) -> None:
    found, last = validated(make_predictor(tasks=two_tasks()), select_by="worst")
    worst = [min(score.primary for score in event.scores) for event in found]
    assert last.best.composite == max(worst)
    assert min(score.primary for score in last.best.scores) == max(worst)
    assert max(worst) > worst[0]


def test_worst_is_of_tasks_and_not_of_sources(make_predictor: MakePredictor) -> None:
    held = (Source("easy", TOPICS[:3]), Source("hard", TOPICS[3:6]), Source("places", PLACES))
    seen = events(make_predictor(tasks=two_tasks()), ALL[:2], held, steps=1, select_by="worst")
    for event in (e for e in seen if isinstance(e, Evaluated)):
        by_source = {score.source: score.primary for score in event.scores}
        topic = (by_source["easy"] + by_source["hard"]) / 2
        assert event.composite == pytest.approx(min(topic, by_source["places"]))


def test_class_weights_change_what_a_run_learns_and_not_how_it_is_scored(make_predictor: MakePredictor) -> None:
    plain, weighed = (
        make_predictor(tasks=(classifier(class_weights=weights), two_tasks()[1])) for weights in ((), {"law": 8.0})
    )
    first = [validated(predictor)[0][0] for predictor in (plain, weighed)]
    assert [s.metrics for s in first[0].scores] == [s.metrics for s in first[1].scores]
    assert not torch.equal(state(plain)["heads.topic.network.1.weight"], state(weighed)["heads.topic.network.1.weight"])
