"""The ranking loss against its definition, and scores from any scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mtl.tasks import Row, Similarity


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_cosent_by_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    task = Similarity(name="pairs", scale=20.0)
    cosine, gold = rng.uniform(-1, 1, 9), rng.integers(0, 4, 9) / 3
    total = 1.0
    for i in range(9):
        for j in range(9):
            if gold[i] < gold[j]:
                total += math.exp(20 * (cosine[i] - cosine[j]))
    found = task.loss(torch.tensor(cosine), torch.tensor(gold))
    assert float(found) == pytest.approx(math.log(total), rel=1e-5)


def test_a_step_against_the_gradient_mends_a_wrong_order() -> None:
    task = Similarity(name="pairs")
    cosine = torch.tensor([0.6, 0.4], requires_grad=True)
    task.loss(cosine, torch.tensor([0.0, 1.0])).backward()
    assert cosine.grad[0] > 0 > cosine.grad[1]


def test_a_missing_score_neither_weighs_nor_breaks_the_gradient() -> None:
    task = Similarity(name="pairs")
    cosine = torch.tensor([0.6, 0.4, 0.2], requires_grad=True)
    loss = task.loss(cosine, torch.tensor([0.0, 1.0, math.nan]))
    loss.backward()
    assert loss.item() == pytest.approx(task.loss(cosine[:2], torch.tensor([0.0, 1.0])).item())
    assert cosine.grad[2] == 0
    nothing = task.loss(cosine, torch.full((3,), math.nan))
    nothing.backward()
    assert nothing.item() == 0
    assert torch.isfinite(cosine.grad).all()


@pytest.mark.parametrize(
    ("low", "high", "cell", "kept"), [(0, 5, 2.5, 0.5), (1, 5, "5", 1.0), (1, 4, 1, 0.0), (-1, 1, " 0.5 ", 0.75)]
)
def test_a_score_of_any_scale_is_kept_as_0_to_1(low: float, high: float, cell: object, kept: float) -> None:
    assert Similarity(name="pairs", low=low, high=high).parse(Row(1, {"score": cell})) == pytest.approx(kept)
