"""A moving average of the weights that learn, kept beside them. Knows no step of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def joined(mean: Mapping[str, Tensor], one: Mapping[str, Tensor], *, n: int) -> dict[str, Tensor]:
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
