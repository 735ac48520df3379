"""One process, or several that train one model together: what they add up and what they tell each other.

One process needs no package: accelerate keeps its state for the whole process, and runs of an app would meet in it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from mtl.errors import ConfigError

Value = TypeVar("Value")


class Processes:
    """Alone: `rank` 0 of `count` 1."""

    rank = 0
    count = 1

    @property
    def is_main(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def add(self, values: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over all processes."""

    def gather(self, values: Sequence[Value]) -> list[Value]:
        """The values of all processes, of the first process first."""
        return list(values)

    def any(self, flag: bool) -> bool:
        """Whether it holds for one of them."""
        return flag

    def wait(self) -> None:
        """Returns when all are here."""


class Launched(Processes):
    """Those that `accelerate launch` (or torchrun) started.

    Raises:
        ConfigError: where accelerate is missing.
    """

    def __init__(self, *, cpu: bool = False) -> None:
        if importlib.util.find_spec("accelerate") is None:
            raise ConfigError("several processes need accelerate: pip install accelerate")
        from accelerate import PartialState

        self._state = PartialState(cpu=cpu)
        self.rank, self.count = self._state.process_index, self._state.num_processes
        self.device = str(self._state.device)

    def add(self, values: Sequence[Tensor]) -> None:
        if not values:
            return
        flat = torch.cat([value.detach().flatten().float() for value in values])
        torch.distributed.all_reduce(flat)
        for value, part in zip(values, torch.split(flat, [value.numel() for value in values]), strict=True):
            value.detach().copy_(part.view_as(value))

    def gather(self, values: Sequence[Value]) -> list[Value]:
        from accelerate.utils import gather_object

        return list(gather_object(list(values)))

    def any(self, flag: bool) -> bool:
        seen = torch.tensor([float(flag)], device=self.device)
        torch.distributed.all_reduce(seen)
        return bool(seen.item())

    def wait(self) -> None:
        self._state.wait_for_everyone()
