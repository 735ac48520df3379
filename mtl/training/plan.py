"""The whole run in advance: which sources each step draws from, and how often each row will be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtl.data import sampling
from mtl.data.batches import Feed, Source, count_batches
from mtl.data.tokenization import TextTokenizer
from mtl.errors import ConfigError
from mtl.tasks import Task
from mtl.training.config import TrainConfig


@dataclass(frozen=True)
class Plan:
    """What a run draws.

    order   the sources of each step: one batch of each
    shares  each source's part of all batches
    epochs  how often a row of each source is drawn, on average
    """

    order: tuple[tuple[str, ...], ...]
    shares: Mapping[str, float]
    epochs: Mapping[str, float]
    steps_per_epoch: int

    @property
    def sources(self) -> frozenset[str]:
        """Those that are drawn at all."""
        return frozenset(name for step in self.order for name in step)


@dataclass(frozen=True)
class SourceMix:
    """What a run draws of one source: `share` of all batches; `epochs`: how often a row is drawn, on average."""

    source: str
    tasks: tuple[str, ...]
    rows: int
    batches: int
    share: float
    epochs: float


@dataclass(frozen=True)
class TaskMix:
    """What a task gets: rows with a target for it, and how often one of them is drawn, on average."""

    task: str
    rows: int
    epochs: float


def step_plan(
    sources: Sequence[Source],
    tokenizer: TextTokenizer,
    config: TrainConfig,
    *,
    order: Sequence[tuple[str, ...]] | None = None,
) -> Plan:
    """How often each source is drawn follows from sizes, weights and `config.sampling`, the order from the seed.

    `order` is a plan that is there already; then only its figures are found.

    Raises:
        ConfigError: where nothing can be drawn.
    """
    size = {"max_tokens": config.batch_tokens, "max_rows": config.batch_rows}
    batches = {s.name: count_batches(s, tokenizer, **size) for s in sources}
    weights = {s.name: s.weight for s in sources}
    epoch = max(1, round(sum(batches[name] * weights[name] for name in batches)))
    if order is None:
        tasks = {s.name: {name for row in s.examples for name in row.targets} for s in sources}
        limits = None
        if config.sampling.max_repeats is not None:
            feeds = {s.name: Feed(s, tokenizer, seed=config.seed, **size) for s in sources}
            most = (config.steps or round(config.epochs * epoch)) * max(1, len(set().union(*tasks.values())))
            limits = {name: feed.first(config.sampling.max_repeats, enough=most) for name, feed in feeds.items()}
        order = _order(batches, weights, tasks, epoch, config, limits)
        if not order and any(batches.values()):
            raise ConfigError("nothing can be drawn: sampling.max_repeats allows no batch of any source; raise it")
    drawn = {name: sum(step.count(name) for step in order) for name in batches}
    total = max(1, sum(drawn.values()))
    per_step = total / max(1, len(order))
    return Plan(
        order=tuple(order),
        shares={name: count / total for name, count in drawn.items()},
        epochs={name: count / batches[name] if batches[name] else 0.0 for name, count in drawn.items()},
        steps_per_epoch=max(1, round(epoch / per_step)),
    )


def _order(
    batches: Mapping[str, int],
    weights: Mapping[str, float],
    tasks: Mapping[str, set[str]],
    epoch: int,
    config: TrainConfig,
    limits: Mapping[str, int] | None,
) -> list[tuple[str, ...]]:
    how = config.sampling
    joint = config.balancing.needs_every_loss
    draws = config.steps or max(1, round(config.epochs * epoch))
    if joint and config.steps:
        draws *= len({name for fed in tasks.values() for name in fed})
    drawn_at_all = {name for name, count in batches.items() if count}
    if how.method == "round_robin":
        flat = sampling.round_robin([name for name in batches if name in drawn_at_all], draws, limits)
    else:
        if how.method == "shares":
            share = sampling.fixed_shares(batches, how.shares)
        else:
            share = sampling.shares(batches, weights, temperature=how.temperature)
        drawn_at_all = {name for name in drawn_at_all if share[name] > 0}
        flat = sampling.plan(sampling.counts(share, draws, limits), np.random.default_rng(config.seed))
    if not joint:
        return [(name,) for name in flat]
    steps = sampling.together(flat, {name: fed for name, fed in tasks.items() if name in drawn_at_all}, limits)
    return steps[: config.steps] if config.steps else steps


def source_mix(source: Source, plan: Plan) -> SourceMix:
    """What a plan draws of a source."""
    fed = dict.fromkeys(name for row in source.examples for name in row.targets)
    drawn = sum(step.count(source.name) for step in plan.order)
    return SourceMix(
        source.name, tuple(fed), len(source.examples), drawn, plan.shares[source.name], plan.epochs[source.name]
    )


def task_mix(task: Task, sources: Sequence[Source], plan: Plan) -> TaskMix:
    """What a plan gives a task."""
    rows = {s.name: sum(task.name in row.targets for row in s.examples) for s in sources}
    total = sum(rows.values())
    drawn = sum(count * plan.epochs[name] for name, count in rows.items())
    return TaskMix(task.name, total, drawn / total if total else 0.0)
