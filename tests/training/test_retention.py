"""What holds the vectors: the loss by hand, and a teacher that does not move with the student."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtl.errors import ConfigError
from mtl.inference.predictor import Predictor
from mtl.training.config import Retention
from mtl.training.retention import Teacher, retention_loss


def unit(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows), dim=-1)


def test_the_loss_by_hand() -> None:
    old, new = unit((1.0, 0.0), (0.0, 1.0)), torch.tensor([[3.0, 0.0], [2.0, 0.0]])
    # the second vector turned by 90 degrees: 1 - cosine is 0 and 1; the similarity matrix went from I to ones
    assert retention_loss(new, old, Retention(cosine=1, geometry=0)).item() == pytest.approx(0.5)
    assert retention_loss(new, old, Retention(cosine=0, geometry=1)).item() == pytest.approx(0.5)
    assert retention_loss(new, old, Retention(cosine=5, geometry=2)).item() == pytest.approx(3.5)


def test_vectors_that_stay_cost_nothing_whatever_their_length() -> None:
    old = unit((1.0, 2.0), (-3.0, 1.0))
    assert retention_loss(old * 7, old, Retention()).item() == pytest.approx(0, abs=1e-6)


def test_turning_all_vectors_together_keeps_the_geometry() -> None:
    old = unit((1.0, 2.0), (-3.0, 1.0))
    turned = old @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert retention_loss(turned, old, Retention(cosine=0, geometry=1)).item() == pytest.approx(0, abs=1e-6)
    assert retention_loss(turned, old, Retention(cosine=1, geometry=0)).item() == pytest.approx(1, abs=1e-6)


def test_the_teacher_remembers_the_vectors_from_before(predictor: Predictor) -> None:
    texts = ["the cat", "a", "the cat"]
    before = predictor.encode(texts)
    teacher = Teacher(predictor.copy())
    for parameter in predictor.model.parameters():
        parameter.data.add_(0.1)
    np.testing.assert_allclose(teacher.vectors(texts).numpy(), before, atol=2e-3)  # kept in half precision
    assert not np.allclose(predictor.encode(texts), before, atol=2e-3)


def test_the_teacher_reads_a_text_once(predictor: Predictor) -> None:
    read: list[str] = []
    usual = predictor.encode

    class Watched:
        def encode(self, texts):
            read.extend(texts)
            return usual(texts)

    teacher = Teacher(Watched())
    first = teacher.vectors(["a", "b", "a"])
    assert torch.equal(teacher.vectors(["b", "a", "c"])[:2], first[[1, 0]])
    assert read == ["a", "b", "c"]


@pytest.mark.parametrize("weights", [{"cosine": -1}, {"geometry": -0.5}])
def test_a_negative_weight_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="both must be 0 or more"):
        Retention(**weights)
