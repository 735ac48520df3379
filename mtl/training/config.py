"""How to train, as frozen values that are checked when they are made. Knows no data and no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ConfigDict

from mtl.errors import ConfigError
from mtl.model.precision import Precision


@dataclass(frozen=True, kw_only=True)
class FreezePolicy:
    """Which parts keep their weights.

    encoder     the whole encoder
    embeddings  the embeddings
    layers      the first k layers (the embeddings below them too)
    heads       the named heads
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    encoder: bool = False
    embeddings: bool = False
    layers: int = 0
    heads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.layers < 0:
            raise ConfigError(f"freeze.layers is {self.layers}; it must be 0 or more")

    def describe(self) -> str:
        """The policy as a sentence."""
        parts = []
        if self.encoder:
            parts.append("the whole encoder")
        elif self.layers:
            parts.append(f"the embeddings and the first {self.layers} layers")
        elif self.embeddings:
            parts.append("the embeddings")
        parts += [f"head {name}" for name in self.heads]
        return f"Frozen: {', '.join(parts)}." if parts else "Nothing is frozen."


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Keeps sentence vectors close to those of the model that training started from.

    cosine    weight of 1 - cosine to the old vector of the same text
    geometry  weight of the mean squared difference of the batch's similarity matrices
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    cosine: float = 5.0
    geometry: float = 0.5

    def __post_init__(self) -> None:
        if self.cosine < 0 or self.geometry < 0:
            raise ConfigError(f"retention weights are {self.cosine} and {self.geometry}; both must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    epochs           passes over all sources together, each counted `weight` times; or say `steps`
    batch_tokens     tokens of a batch when padded; batch_rows bounds its rows
    encoder_lr, head_lr  peak learning rates of AdamW (Loshchilov & Hutter 2019)
    layer_decay      factor of the encoder's rate from each layer to the one below it (Howard & Ruder 2018); 1 none
    warmup           share of the steps in which the rates rise; then they fall linearly to 0
    temperature      of sampling: 1 proportional to size, higher more even
    imitation        weight from 0 to 1 of what teachers say beside what the data say, where there are teachers
    ema              decay of an exponential moving average of the weights, which is what is validated and kept;
                     None keeps the last weights (Morales-Brotons et al. 2024, "Exponential Moving Average of
                     Weights in Deep Learning")
    soup             at the end, also try averages of validated weights: from the best, one after the other joins
                     where the score rises (Wortsman et al. 2022, "Model soups", algorithm 1)
    validation_rows  at most so many rows of each source are scored during training
    validate_every   steps between validations; None for once an epoch
    select_by        `mean` (over tasks, of each task's primary metric) or `TASK.METRIC`
    patience         stop after so many validations without a new best; None never
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    epochs: float = 1.0
    steps: int | None = None
    batch_tokens: int = 800
    batch_rows: int = 48
    encoder_lr: float = 3e-4
    head_lr: float = 2e-3
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    warmup: float = 0.06
    clip: float = 1.0
    temperature: float = 1.0
    freeze: FreezePolicy = field(default_factory=FreezePolicy)
    retention: Retention | None = field(default_factory=Retention)
    imitation: float = 0.5
    ema: float | None = None
    soup: bool = False
    validation_rows: int = 1000
    validate_every: int | None = None
    select_by: str = "mean"
    patience: int | None = None
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "epochs": self.epochs > 0,
            "steps": self.steps is None or self.steps > 0,
            "batch_tokens": self.batch_tokens > 0,
            "batch_rows": self.batch_rows > 0,
            "encoder_lr": self.encoder_lr > 0,
            "head_lr": self.head_lr > 0,
            "clip": self.clip > 0,
            "temperature": self.temperature > 0,
            "validation_rows": self.validation_rows > 0,
            "validate_every": self.validate_every is None or self.validate_every > 0,
            "patience": self.patience is None or self.patience > 0,
        }
        for name, holds in limits.items():
            if not holds:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.imitation <= 1:
            raise ConfigError(f"training.imitation is {self.imitation}; it must be from 0 to 1")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"training.layer_decay is {self.layer_decay}; it must be above 0 and at most 1")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ConfigError(f"training.ema is {self.ema}; it must be between 0 and 1, such as 0.999")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"training.warmup is {self.warmup}; it must be from 0 to under 1")
        if self.weight_decay < 0:
            raise ConfigError(f"training.weight_decay is {self.weight_decay}; it must be 0 or more")
        if self.select_by != "mean" and "." not in self.select_by:
            raise ConfigError(f"training.select_by is {self.select_by!r}; say 'mean' or TASK.METRIC")
