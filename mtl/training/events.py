"""What a training run says while it runs. Plain values that can be pickled; readers decide what to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from torch import Tensor

from mtl.evaluation.conflict import Conflict

EndReason = Literal["finished", "stopped", "early", "diverged"]


@dataclass(frozen=True)
class RunStarted:
    """Before the first step. Counts are parameters by module: `embeddings`, `layer 1` ..., `head NAME`.

    shares  each source's part of all batches; epochs: how often its rows are drawn, on average
    """

    steps: int
    policy: str
    trainable: Mapping[str, int]
    total: Mapping[str, int]
    shares: Mapping[str, float]
    warnings: tuple[str, ...]
    device: str
    epochs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Noted:
    """Something to know about the run, as a sentence; `step` is the last that was done."""

    step: int
    message: str


@dataclass(frozen=True)
class StepEnded:
    """One optimiser step. `losses` are raw, by task; so are `retention` and `imitation`, None where they are off.

    source     what the step drew from, joined by " + " where it was several
    weights    what each loss counted
    grad_norm  of all gradients before clipping; None where nothing could move
    memory     bytes that the process holds (on a GPU: the most that tensors took so far), 0 where not known
    """

    step: int
    source: str
    losses: Mapping[str, float]
    retention: float | None
    encoder_lr: float
    tokens: int
    seconds: float
    imitation: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    grad_norm: float | None = None
    memory: int = 0


@dataclass(frozen=True)
class SourceScore:
    """The metrics of one task on the validation rows of one source; `primary` is its main metric.

    loss  the task's raw loss on some of the rows; None in runs that were recorded before it was measured
    """

    source: str
    task: str
    metrics: Mapping[str, float]
    primary: float
    loss: float | None = None


@dataclass(frozen=True)
class Evaluated:
    """Validation after `step` steps; step 0 is the model as it came."""

    step: int
    scores: tuple[SourceScore, ...]
    composite: float


@dataclass(frozen=True)
class ConflictMeasured:
    """How far the gradients of the tasks pointed apart after `step` steps."""

    step: int
    conflict: Conflict


@dataclass(frozen=True)
class RunEnded:
    """After the last step. `state` is the whole model at `best_step`, on the CPU.

    problem   what ended a run that diverged, as a sentence
    averaged  the steps whose weights `state` is the mean of, where it is a soup; `best` is then its score
    """

    reason: EndReason
    steps: int
    before: Evaluated | None
    best: Evaluated | None
    best_step: int
    state: Mapping[str, Tensor]
    averaged: tuple[int, ...] = ()
    problem: str | None = None


RunEvent: TypeAlias = RunStarted | Noted | StepEnded | Evaluated | ConflictMeasured | RunEnded
