"""What a training run says while it runs. Plain values that can be pickled; readers decide what to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

EndReason = Literal["finished", "stopped", "early"]


@dataclass(frozen=True)
class RunStarted:
    """Before the first step. Counts are parameters by module: `embeddings`, `layer 1` ..., `head NAME`."""

    steps: int
    policy: str
    trainable: Mapping[str, int]
    total: Mapping[str, int]
    shares: Mapping[str, float]
    warnings: tuple[str, ...]
    device: str


@dataclass(frozen=True)
class StepEnded:
    """One optimiser step. `losses` are raw, by task; so are `retention` and `imitation`, None where they are off."""

    step: int
    source: str
    losses: Mapping[str, float]
    retention: float | None
    encoder_lr: float
    tokens: int
    seconds: float
    imitation: float | None = None


@dataclass(frozen=True)
class SourceScore:
    """The metrics of one task on the validation rows of one source."""

    source: str
    task: str
    metrics: Mapping[str, float]
    primary: float


@dataclass(frozen=True)
class Evaluated:
    """Validation after `step` steps; step 0 is the model as it came."""

    step: int
    scores: tuple[SourceScore, ...]
    composite: float


@dataclass(frozen=True)
class RunEnded:
    """After the last step. `state` is the whole model at `best_step`, on the CPU.

    averaged  the steps whose weights `state` is the mean of, where it is a soup; `best` is then its score
    """

    reason: EndReason
    steps: int
    before: Evaluated | None
    best: Evaluated | None
    best_step: int
    state: Mapping[str, Tensor]
    averaged: tuple[int, ...] = ()


RunEvent: TypeAlias = RunStarted | StepEnded | Evaluated | RunEnded
