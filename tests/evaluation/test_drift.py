"""What a model answers otherwise: nothing where nothing moved, and each thing that did."""

from __future__ import annotations

import pytest
import torch

from mtl.evaluation.drift import Flip, drift
from mtl.inference.predictor import Predictor
from mtl.tasks import Classification
from mtl.types import LabelScores

TEXTS = ["the cat", "law in rome", "a cat and a dog", "verdict", "xyz 12"]
PAIRS = [("the cat", "a cat", 5.0), ("the cat", "law in rome", 1.0), ("law", "the law", 4.0)]


def test_a_copy_has_not_drifted(predictor: Predictor) -> None:
    found = drift(predictor, predictor.copy(), TEXTS, PAIRS)
    assert [(s.task, s.before, s.after) for s in found.shifts[:2]] == [("topic", 1, 1), ("entities", 1, 1)]
    assert found.shifts[2].before == found.shifts[2].after
    assert found.flips == ()
    assert found.cosine == pytest.approx(1, abs=1e-5)


def test_a_head_that_says_one_label_flips_what_had_another(predictor: Predictor) -> None:
    after = predictor.copy()
    last = [m for m in after.model.heads["topic"].modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 9.0, 0.0]))
    said = [a["topic"].label for a in predictor.analyze(TEXTS) if isinstance(a["topic"], LabelScores)]
    found = drift(predictor, after, TEXTS, PAIRS)
    assert found.shifts[0].after == pytest.approx(said.count("law") / len(TEXTS))
    flips = [flip for flip in found.flips if flip.task == "topic"]
    assert flips == [Flip(t, "topic", label, "law") for t, label in zip(TEXTS, said, strict=True) if label != "law"]
    assert found.cosine == pytest.approx(1, abs=1e-5)


def test_an_encoder_that_moved_is_seen_in_the_vectors(predictor: Predictor) -> None:
    after = predictor.copy()
    with torch.no_grad():
        for parameter in after.model.encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert drift(predictor, after, TEXTS, PAIRS).cosine < 0.9


def test_new_heads_and_lost_ones_are_left_out(predictor: Predictor) -> None:
    after = predictor.copy()
    after.add_task(Classification(name="mood", labels=("good", "bad")))
    after.tasks = tuple(task for task in after.tasks if task.name != "entities")
    assert [shift.task for shift in drift(predictor, after, TEXTS, PAIRS).shifts] == ["topic", "similarity"]
