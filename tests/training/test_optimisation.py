"""The optimiser is AdamW with clipping, a schedule and a guard against gradients that are no numbers."""

from __future__ import annotations

import math

import pytest
import torch

from mtl.inference.predictor import Predictor
from mtl.training import freezing
from mtl.training.config import FreezePolicy
from mtl.training.optimisation import Optimiser
from tests.conftest import MakePredictor
from tests.training.small import same, settings, state


def made(predictor: Predictor, *, fp16: bool = False, **changes: object) -> Optimiser:
    freezing.apply(predictor.model, FreezePolicy())
    return Optimiser(predictor.model, settings(**changes), [], total=10, fp16=fp16)


def give(parameters: list[torch.nn.Parameter], step: int, *, scale: float = 1.0) -> None:
    """Gradients that are the same for equal steps, some far above what is clipped."""
    torch.manual_seed(step)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter) * 10 ** (step % 3 - 2) * scale


@pytest.mark.parametrize("fp16", [False, True])
def test_it_moves_weights_as_torch_does_by_hand(make_predictor: MakePredictor, fp16: bool) -> None:
    ours, theirs = make_predictor(), make_predictor()
    optimiser = made(ours, fp16=fp16, clip=0.7, weight_decay=0.1)
    freezing.apply(theirs.model, FreezePolicy())
    other = made(theirs, clip=0.7, weight_decay=0.1)
    adam = torch.optim.AdamW([{**group, "params": list(group["params"])} for group in other.adam.param_groups])
    for step in range(1, 6):
        optimiser.set_rates(step)
        for group, rate in zip(adam.param_groups, optimiser.adam.param_groups, strict=True):
            group["lr"] = rate["lr"]
        factor = optimiser.scaler.scale(torch.ones(())).item() if fp16 else 1.0
        give(optimiser.learning, step, scale=factor)
        give(other.learning, step)
        norm = optimiser.step()
        expected = torch.nn.utils.clip_grad_norm_(other.learning, 0.7)
        adam.step()
        assert float(norm) == pytest.approx(float(expected), rel=1e-4)
    for name, value in state(ours).items():
        torch.testing.assert_close(value, state(theirs)[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_changes_neither_weights_nor_what_follows(
    make_predictor: MakePredictor, bad: float
) -> None:
    plain, hit = make_predictor(), make_predictor()
    optimisers = [made(plain), made(hit)]
    for step in (1, 2, 3):
        for optimiser in optimisers:
            optimiser.set_rates(step)
            give(optimiser.learning, step)
            optimiser.step()
        if step == 2:
            before = state(hit)
            give(optimisers[1].learning, 9)
            optimisers[1].learning[3].grad[0] = bad
            assert not optimisers[1].step().isfinite()
            assert same(state(hit), before)
    for name, value in state(hit).items():
        torch.testing.assert_close(value, state(plain)[name], rtol=1e-6, atol=1e-7, msg=name)


def test_its_state_can_be_put_into_another(make_predictor: MakePredictor) -> None:
    first, second = make_predictor(), make_predictor()
    one, other = made(first), made(second)
    for step in (1, 2):
        one.set_rates(step)
        give(one.learning, step)
        one.step()
    second.model.load_state_dict(first.model.state_dict())
    other.load({name: value.clone() for name, value in one.state().items()})
    for optimiser in (one, other):
        optimiser.set_rates(3)
        give(optimiser.learning, 3)
        optimiser.step()
    assert same(state(first), state(second))
