"""The conflict meter: cosines of task gradients, part by part, that leave everything as it was."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mtl.data.batches import Batch, Source, collate
from mtl.evaluation.conflict import Conflict, measure
from mtl.inference.predictor import Predictor
from mtl.tasks import Classification
from mtl.training import freezing
from mtl.training.config import FreezePolicy, LoRA
from mtl.training.events import ConflictMeasured, Evaluated
from mtl.types import Example
from tests.conftest import MakePredictor
from tests.training.small import ALL, events, same, state

LABELS = ("food", "law")
SWAPPED = {"food": "law", "law": "food"}
TEXTS = [("soup 1", "food"), ("bread", "food"), ("court 2", "law"), ("judge", "law")]
PARTS = ("embeddings", "layer 1", "layer 2")


def twins(make_predictor: MakePredictor, *names: str, answers: dict[str, dict[str, str]] | None = None):
    """Classifiers of the same texts whose heads have equal weights; `answers` renames the labels of some."""
    tasks = tuple(Classification(name=name, labels=LABELS, dropout=0.0) for name in names)
    predictor = make_predictor(tasks=tasks)
    freezing.apply(predictor.model, FreezePolicy())
    for name in names:
        predictor.model.heads[name].load_state_dict(predictor.model.heads[names[0]].state_dict())
    batches = {}
    for task in tasks:
        said = (answers or {}).get(task.name, {})
        rows = [Example((text,), {task.name: said.get(label, label)}) for text, label in TEXTS]
        batches[task.name] = collate("", rows, [task], predictor.tokenizer)
    return predictor, batches


def found(predictor: Predictor, batches: dict[str, Batch]) -> Conflict | None:
    return measure(predictor.model, batches, predictor.tasks, "fp32")


def probes(predictor: Predictor, *names: str) -> dict[str, Batch]:
    """A batch of the small problem for each task."""
    sources = {"topic": ALL[0], "entities": ALL[1], "similarity": ALL[2]}
    return {n: collate("", sources[n].examples[:6], [predictor.task(n)], predictor.tokenizer) for n in names}


def gradient(predictor: Predictor, name: str, batch: Batch, module: torch.nn.Module) -> Tensor:
    """A task's gradient on a module, by hand: `backward`, then whatever lies in `.grad`."""
    predictor.model.eval()
    predictor.model.zero_grad(set_to_none=True)
    output = predictor.model.read(predictor.model.encode(batch.inputs), [name])[name]
    predictor.task(name).loss(output, batch.targets[name]).backward()
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in module.parameters()])
    predictor.model.zero_grad(set_to_none=True)
    return flat.double()


def test_a_task_and_its_twin_pull_the_same_way(make_predictor: MakePredictor) -> None:
    conflict = found(*twins(make_predictor, "one", "two"))
    assert conflict.parts == PARTS
    (pair,) = conflict.pairs
    assert (pair.left, pair.right) == ("one", "two")
    assert pair.cosines == pytest.approx((1.0,) * 3, abs=1e-5)


def test_a_task_and_its_opposite_pull_against_each_other(make_predictor: MakePredictor) -> None:
    predictor, batches = twins(make_predictor, "one", "two", answers={"two": SWAPPED})
    for head in predictor.model.heads.values():  # with even answers, other labels turn the gradient round
        head.network[-1].bias.data.zero_()
        head.network[-1].weight.data.mul_(1e-3)
    (pair,) = found(predictor, batches).pairs
    assert pair.cosines == pytest.approx((-1.0,) * 3, abs=1e-2)


def test_cosines_are_those_of_gradients_taken_by_hand(predictor: Predictor) -> None:
    freezing.apply(predictor.model, FreezePolicy())
    names = ("topic", "entities", "similarity")
    batches = probes(predictor, *names)
    encoder = predictor.model.encoder
    modules = (encoder.embeddings, *encoder.blocks)
    conflict = measure(predictor.model, batches, predictor.tasks, "fp32")
    assert [(pair.left, pair.right) for pair in conflict.pairs] == [
        ("topic", "entities"),
        ("topic", "similarity"),
        ("entities", "similarity"),
    ]
    by_hand = {n: [gradient(predictor, n, batches[n], module) for module in modules] for n in names}
    for pair in conflict.pairs:
        expected = [
            float(torch.cosine_similarity(left, right, dim=0))
            for left, right in zip(by_hand[pair.left], by_hand[pair.right], strict=True)
        ]
        assert pair.cosines == pytest.approx(expected, abs=1e-4)
        assert all(abs(cosine) < 0.999 for cosine in pair.cosines)


def test_labels_in_another_order_change_nothing(make_predictor: MakePredictor) -> None:
    predictor, batches = twins(make_predictor, "one", "two", answers={"two": SWAPPED})
    last = predictor.model.heads["two"].network[-1]
    last.weight.data, last.bias.data = last.weight.data.flip(0), last.bias.data.flip(0)
    (pair,) = found(predictor, batches).pairs
    assert pair.cosines == pytest.approx((1.0,) * 3, abs=1e-5)


@pytest.mark.parametrize(
    ("policy", "parts"),
    [
        (FreezePolicy(embeddings=True), PARTS[1:]),
        (FreezePolicy(layers=1), PARTS[2:]),
        (FreezePolicy(heads=("one", "two")), PARTS),
    ],
)
def test_only_parts_that_learn_are_measured(make_predictor: MakePredictor, policy: FreezePolicy, parts) -> None:
    predictor, batches = twins(make_predictor, "one", "two")
    freezing.apply(predictor.model, policy)
    conflict = found(predictor, batches)
    assert conflict.parts == parts
    assert conflict.pairs[0].cosines == pytest.approx((1.0,) * len(parts), abs=1e-5)


def test_there_is_no_conflict_without_an_encoder_that_moves_or_a_second_task(make_predictor: MakePredictor) -> None:
    predictor, batches = twins(make_predictor, "one", "two")
    assert found(predictor, {"one": batches["one"]}) is None
    assert found(predictor, {}) is None
    freezing.apply(predictor.model, FreezePolicy(encoder=True))
    assert found(predictor, batches) is None


def test_a_task_without_gradient_has_no_cosine(make_predictor: MakePredictor) -> None:
    predictor, batches = twins(make_predictor, "one", "two")
    predictor.model.heads["two"].network[-1].weight.data.zero_()  # nothing that it reads matters
    assert all(math.isnan(cosine) for cosine in found(predictor, batches).pairs[0].cosines)


def test_three_tasks_make_three_pairs_in_the_order_of_the_tasks(make_predictor: MakePredictor) -> None:
    conflict = found(*twins(make_predictor, "one", "two", "three", answers={"three": SWAPPED}))
    assert [(p.left, p.right) for p in conflict.pairs] == [("one", "two"), ("one", "three"), ("two", "three")]
    assert conflict.pairs[1].cosines == pytest.approx(conflict.pairs[2].cosines, abs=1e-5)
    assert conflict.pairs[0].cosines == pytest.approx((1.0,) * 3, abs=1e-5)
    assert max(conflict.pairs[1].cosines) < 0.9


def test_measuring_leaves_weights_gradients_and_chance_as_they_are(predictor: Predictor) -> None:
    model = predictor.model
    freezing.apply(model, FreezePolicy(embeddings=True))
    freezing.set_train_mode(model, FreezePolicy(embeddings=True))
    marks = {name: torch.full_like(p, 0.5) for name, p in model.named_parameters() if "layer.1" in name}
    for name, parameter in model.named_parameters():
        parameter.grad = marks.get(name)
    before, asked, chance = state(predictor), [p.requires_grad for p in model.parameters()], torch.get_rng_state()
    first = measure(model, probes(predictor, "topic", "entities"), predictor.tasks, "fp32")
    again = measure(model, probes(predictor, "topic", "entities"), predictor.tasks, "fp32")
    assert first == again  # no dropout
    assert same(state(predictor), before)
    assert torch.equal(torch.get_rng_state(), chance)
    assert [p.requires_grad for p in model.parameters()] == asked
    assert not model.training
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) if name not in marks else bool((parameter.grad == 0.5).all())


def test_it_can_be_measured_where_gradients_are_off(make_predictor: MakePredictor) -> None:
    predictor, batches = twins(make_predictor, "one", "two")
    with torch.no_grad():
        (pair,) = found(predictor, batches).pairs
    assert pair.cosines == pytest.approx((1.0,) * 3, abs=1e-5)


def test_a_run_measures_at_each_validation_and_is_the_same_run_without(make_predictor: MakePredictor) -> None:
    measured, plain = make_predictor(), make_predictor()
    options = {"steps": 8, "validate_every": 4}
    seen = events(measured, ALL, ALL, conflict=True, **options)
    events(plain, ALL, ALL, conflict=False, **options)
    assert [e.step for e in seen if isinstance(e, ConflictMeasured)] == [1, 4, 8]
    assert [e.step for e in seen if isinstance(e, Evaluated)] == [0, 4, 8]
    for event in seen:
        if isinstance(event, ConflictMeasured):
            assert event.conflict.parts == PARTS
            assert all(-1 <= cosine <= 1 for pair in event.conflict.pairs for cosine in pair.cosines)
    assert same(state(measured), state(plain))


@pytest.mark.parametrize(
    ("sources", "policy"), [(ALL[:1], FreezePolicy()), (ALL, FreezePolicy(encoder=True)), (ALL, FreezePolicy(layers=2))]
)
def test_a_run_of_one_task_or_on_a_frozen_encoder_measures_none(
    predictor: Predictor, sources: tuple[Source, ...], policy: FreezePolicy
) -> None:
    seen = events(predictor, sources, sources, conflict=True, freeze=policy, steps=4)
    assert not [e for e in seen if isinstance(e, ConflictMeasured)]


def test_adapters_are_measured_in_place_of_what_they_adapt(predictor: Predictor) -> None:
    pytest.importorskip("peft")
    seen = events(predictor, ALL, conflict=True, freeze=FreezePolicy(lora=LoRA(rank=2)), steps=4)
    found = [e.conflict for e in seen if isinstance(e, ConflictMeasured)]
    assert found
    assert all(conflict.parts == ("layer 1", "layer 2") for conflict in found)


def test_a_task_that_does_not_move_the_encoder_is_in_no_pair(predictor: Predictor) -> None:
    seen = events(predictor, ALL[:2], conflict=True, freeze=FreezePolicy(gradient={"topic": 0.0}), steps=4)
    assert not [e for e in seen if isinstance(e, ConflictMeasured)]
