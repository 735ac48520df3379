"""Averages of weights: one that moves along with a run, and one of what a run has validated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from mtl.training.events import Evaluated

State = dict[str, Tensor]
Score = Callable[[State], Evaluated]


def soup(
    best: Evaluated,
    state: State,
    ingredients: Sequence[tuple[Evaluated, State]],
    score: Score,
) -> tuple[Evaluated, State, tuple[int, ...]]:
    """The best weights, or a mean of validated ones that scores better, and the steps that it is the mean of.

    From the best ingredient on, the next one joins where the score of the mean rises, and is left out otherwise
    (Wortsman et al. 2022, "Model soups", algorithm 1). `best` keeps its step and gets the score of the mean.
    Where the best weights are no ingredient (the model as it came), nothing is mixed.
    """
    in_order = sorted(ingredients, key=lambda one: -one[0].composite)
    if not in_order or in_order[0][0].composite < best.composite:
        return best, state, ()
    state, steps = in_order[0][1], [in_order[0][0].step]
    for found, other in in_order[1:]:
        tried = _joined(state, other, n=len(steps))
        result = score(tried)
        if result.composite > best.composite:
            best, state = replace(result, step=best.step), tried
            steps.append(found.step)
    return best, state, tuple(sorted(steps)) if len(steps) > 1 else ()


def _joined(mean: State, one: State, *, n: int) -> State:
    """The mean of n states and one more; what is no floating point number stays as it is in `mean`."""
    return {k: torch.lerp(v, one[k], 1 / (n + 1)) if v.is_floating_point() else v for k, v in mean.items()}


class Average:
    """An exponential moving average; early on its decay is (1 + step) / (10 + step), so that it forgets the start."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.decay = decay
        self.values: list[Tensor] = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves towards the weights as they are after `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self.parameters, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the weights and their average."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model computes with the average inside, and with its own weights again after."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
