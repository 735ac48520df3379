"""How to train, as frozen values that are checked when they are made. Knows no data and no model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from pydantic import ConfigDict

from mtl.errors import ConfigError
from mtl.model.precision import Precision


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank adapters on the linear layers of every encoder layer that is not frozen (Hu et al. 2022).

    rank     width of the adapters; alpha: their scale is alpha / rank; dropout: before them
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"freeze.lora.rank is {self.rank}; it must be 1 or more")
        if self.alpha < 1:
            raise ConfigError(f"freeze.lora.alpha is {self.alpha}; it must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"freeze.lora.dropout is {self.dropout}; it must be from 0 to under 1")


@dataclass(frozen=True, kw_only=True)
class FreezePolicy:
    """Which parts keep their weights, and how freely the others move.

    everything  the whole network: the run only validates, and ends before its first step
    encoder     the whole encoder
    embeddings  the embeddings
    layers      the first k layers (the embeddings below them too)
    heads       the named heads
    gradual     share of the run between releases: first the heads learn alone, then one layer after the other
                joins from the top, at last the embeddings (Howard & Ruder 2018, "ULMFiT"); None all at once
    lora        adapters learn in place of the encoder's own weights; they are merged into them at the end
    layer_decay factor of the encoder's rate from each layer to the one below it (Howard & Ruder 2018); 1 none
    gradient    by head, the factor from 0 to 1 with which its gradient reaches the encoder; 0: the head learns
                and does not move the encoder; 1 where it is not named
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    everything: bool = False
    encoder: bool = False
    embeddings: bool = False
    layers: int = 0
    heads: tuple[str, ...] = ()
    gradual: float | None = None
    lora: LoRA | None = None
    layer_decay: float = 1.0
    gradient: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.layers < 0:
            raise ConfigError(f"freeze.layers is {self.layers}; it must be 0 or more")
        if self.gradual is not None and not 0 < self.gradual < 1:
            raise ConfigError(f"freeze.gradual is {self.gradual}; it must be between 0 and 1, such as 0.1")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"freeze.layer_decay is {self.layer_decay}; it must be above 0 and at most 1")
        for name, factor in self.gradient.items():
            if not 0 <= factor <= 1:
                raise ConfigError(f"freeze.gradient of {name!r} is {factor}; it must be from 0 to 1")
        if self.encoder and (self.lora or self.gradual is not None):
            what = "lora adapts" if self.lora else "gradual releases"
            raise ConfigError(f"freeze.encoder freezes what freeze.{what}; leave one of them out")

    def describe(self) -> str:
        """The policy as a sentence."""
        if self.everything:
            return "Frozen: the whole network."
        parts = []
        if self.encoder:
            parts.append("the whole encoder")
        elif self.layers:
            parts.append(f"the embeddings and the first {self.layers} layers")
        elif self.embeddings:
            parts.append("the embeddings")
        parts += [f"head {name}" for name in self.heads]
        said = [f"Frozen: {', '.join(parts)}." if parts else "Nothing is frozen."]
        if self.lora:
            said.append(f"Adapters of rank {self.lora.rank} learn in place of the encoder's own weights.")
        if self.gradual is not None:
            said.append(f"Heads learn first; every {self.gradual:.0%} of the run one more layer joins, from the top.")
        if self.layer_decay < 1:
            said.append(f"Each layer learns at {self.layer_decay:g} times the rate of the one above it.")
        for name, factor in self.gradient.items():
            weaker = f"moves the encoder at {factor:g} of its gradient" if factor else "does not move the encoder"
            said.append(f"Head {name} {weaker}.")
        return " ".join(said)


SamplingMethod = Literal["proportional", "temperature", "round_robin", "shares"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which source each step draws from.

    method       proportional  by batches times weight
                 temperature   by batches times weight to the power 1 / temperature (Raffel et al. 2020, 3.5.2)
                 round_robin   one after the other, in the order of the recipe
                 shares        as `shares` says, by source; they are scaled to sum to 1
    temperature  1 is proportional, a high one is even
    max_repeats  no row is drawn more often than this in the whole run: a small source ends there, and its
                 steps go to the others; None for no cap
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    method: SamplingMethod = "proportional"
    temperature: float = 1.0
    shares: dict[str, float] = field(default_factory=dict)
    max_repeats: float | None = None

    def __post_init__(self) -> None:
        if self.method not in get_args(SamplingMethod):
            raise ConfigError(f"sampling.method is {self.method!r}; say {', '.join(get_args(SamplingMethod))}")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"sampling.temperature is {self.temperature}; it must be above 0")
        if self.temperature != 1 and self.method != "temperature":
            raise ConfigError(f"sampling.temperature is {self.temperature} and method {self.method}; say temperature")
        if (self.method == "shares") != bool(self.shares):
            raise ConfigError("sampling.shares and method: shares go together; give both or neither")
        if any(not 0 <= share < math.inf for share in self.shares.values()) or (
            self.shares and sum(self.shares.values()) <= 0
        ):
            raise ConfigError(f"sampling.shares are {self.shares}; they must be 0 or more, and one above 0")
        if self.max_repeats is not None and not self.max_repeats > 0:
            raise ConfigError(f"sampling.max_repeats is {self.max_repeats}; it must be above 0")


WeightingMethod = Literal["fixed", "initial", "uncertainty", "dwa", "famo"]
GradientMethod = Literal["pcgrad", "cagrad", "aligned_mtl", "upgrad", "mgda", "imtl_g"]
BalancingMethod = Literal[WeightingMethod, GradientMethod]


@dataclass(frozen=True, kw_only=True)
class Balancing:
    """How the losses of the tasks become one step.

    method   fixed        by `weights`
             initial      each loss divided by what it was at first
             uncertainty  learned weights (Kendall et al. 2018), each between exp(-clamp) and exp(clamp)
             dwa          by how fast each loss fell (Liu et al. 2019, "dynamic weight average")
             famo         so that all fall alike (Liu et al. 2023, "FAMO")
             pcgrad, cagrad, aligned_mtl, upgrad, mgda, imtl_g: gradients of the tasks on the encoder are joined
             so that they conflict less; by torchjd
    weights      factors by task, 1 where not named, beside any method
    temperature  of dwa; window: steps that its means are taken over
    rate         of famo's logits; clamp: of uncertainty's log variances

    famo and the gradient methods need every loss in each step: such a step draws one batch for each task.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    method: BalancingMethod = "fixed"
    weights: dict[str, float] = field(default_factory=dict)
    temperature: float = 2.0
    window: int = 50
    rate: float = 0.025
    clamp: float = 3.0

    def __post_init__(self) -> None:
        if self.method not in (*get_args(WeightingMethod), *get_args(GradientMethod)):
            known = ", ".join((*get_args(WeightingMethod), *get_args(GradientMethod)))
            raise ConfigError(f"balancing.method is {self.method!r}; say {known}")
        for name in ("temperature", "window", "rate", "clamp"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"balancing.{name} is {getattr(self, name)}; it must be above 0")
        for name, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise ConfigError(f"balancing.weights of {name!r} is {weight}; it must be 0 or more and finite")

    @property
    def joins_gradients(self) -> bool:
        return self.method in get_args(GradientMethod)

    @property
    def needs_every_loss(self) -> bool:
        return self.joins_gradients or self.method == "famo"


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
        if not (self.cosine >= 0 and self.geometry >= 0):
            raise ConfigError(f"retention weights are {self.cosine} and {self.geometry}; both must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    epochs           passes over all sources together, each counted `weight` times; or say `steps`
    batch_tokens     tokens of a batch when padded; batch_rows bounds its rows
    encoder_lr, head_lr  peak learning rates of AdamW (Loshchilov & Hutter 2019)
    warmup           share of the steps in which the rates rise; then they fall linearly to 0
    imitation        weight from 0 to 1 of what teachers say beside what the data say, where there are teachers
    ema              decay of an exponential moving average of the weights, which is what is validated and kept;
                     None keeps the last weights (Morales-Brotons et al. 2024, "Exponential Moving Average of
                     Weights in Deep Learning")
    soup             at the end, also try averages of validated weights: from the best, one after the other joins
                     where the score rises (Wortsman et al. 2022, "Model soups", algorithm 1)
    validation_rows  at most so many rows of each source are scored during training
    validate_every   steps between validations; None for once an epoch
    select_by        `mean` or `worst` of the tasks' main metrics, or `TASK.METRIC`: what the best weights, of
                     encoder and heads together, are chosen by
    patience         stop after so many validations without a new best; None never
    conflict         whether each validation also measures how far the gradients of the tasks point apart
    cache            with a frozen encoder, its outputs are computed once: `auto`, or `off`
    snapshot_s       seconds between two snapshots that `--resume` goes on from, where a run keeps any
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    epochs: float = 1.0
    steps: int | None = None
    batch_tokens: int = 800
    batch_rows: int = 48
    encoder_lr: float = 3e-4
    head_lr: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.06
    clip: float = 1.0
    sampling: Sampling = field(default_factory=Sampling)
    balancing: Balancing = field(default_factory=Balancing)
    freeze: FreezePolicy = field(default_factory=FreezePolicy)
    retention: Retention | None = field(default_factory=Retention)
    imitation: float = 0.5
    ema: float | None = None
    soup: bool = False
    validation_rows: int = 1000
    validate_every: int | None = None
    select_by: str = "mean"
    patience: int | None = None
    conflict: bool = True
    cache: Literal["auto", "off"] = "auto"
    snapshot_s: float = 300.0
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
            "validation_rows": self.validation_rows > 0,
            "validate_every": self.validate_every is None or self.validate_every > 0,
            "patience": self.patience is None or self.patience > 0,
        }
        for name, holds in limits.items():
            if not holds:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.imitation <= 1:
            raise ConfigError(f"training.imitation is {self.imitation}; it must be from 0 to 1")
        if not self.snapshot_s >= 0:
            raise ConfigError(f"training.snapshot_s is {self.snapshot_s}; it must be 0 or more")
        if self.cache not in ("auto", "off"):
            raise ConfigError(f"training.cache is {self.cache!r}; say auto or off")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ConfigError(f"training.ema is {self.ema}; it must be between 0 and 1, such as 0.999")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"training.warmup is {self.warmup}; it must be from 0 to under 1")
        if not self.weight_decay >= 0:
            raise ConfigError(f"training.weight_decay is {self.weight_decay}; it must be 0 or more")
        if self.select_by not in ("mean", "worst") and "." not in self.select_by:
            raise ConfigError(f"training.select_by is {self.select_by!r}; say 'mean', 'worst' or TASK.METRIC")

    def describe(self) -> str:
        """What is frozen and how fast the rest learns, as sentences."""
        if self.freeze.everything:
            return self.freeze.describe()
        encoder = "" if self.freeze.encoder else f"encoder {self.encoder_lr:g}, "
        return f"{self.freeze.describe()} Peak rates: {encoder}heads {self.head_lr:g}."
