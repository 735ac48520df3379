"""Which source gives the next batch. Knows counts and weights, no data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle

import numpy as np

from mtl.errors import ConfigError


def shares(n_batches: Mapping[str, int], weights: Mapping[str, float], *, temperature: float = 1.0) -> dict[str, float]:
    """Each source's part of all steps: its batches times its weight, to the power 1 / temperature.

    Temperature 1 is proportional; a high one is uniform (Raffel et al. 2020, section 3.5.2, without a cap).

    Raises:
        ConfigError: where every source is empty or weighs nothing.
    """
    raw = {name: (count * weights[name]) ** (1 / temperature) for name, count in n_batches.items()}
    total = sum(raw.values())
    if total <= 0:
        raise ConfigError("no source has both rows and a weight above 0; nothing can be sampled")
    return {name: value / total for name, value in raw.items()}


def fixed_shares(n_batches: Mapping[str, int], wanted: Mapping[str, float]) -> dict[str, float]:
    """The shares that a recipe names, scaled to sum to 1.

    Raises:
        ConfigError: where they do not name every source, or one that is none.
    """
    for name in [*n_batches, *wanted]:
        if (name in n_batches) != (name in wanted):
            raise ConfigError(
                f"sampling.shares must name each source once; {name!r} is {'missing' if name in n_batches else 'none'}"
            )
    there = {name: wanted[name] if count else 0.0 for name, count in n_batches.items()}
    total = sum(there.values())
    if total <= 0:
        raise ConfigError("no source has both rows and a share above 0; nothing can be sampled")
    return {name: share / total for name, share in there.items()}


def counts(share: Mapping[str, float], steps: int, limits: Mapping[str, int] | None = None) -> dict[str, int]:
    """How often each source is drawn: each share to within one step, none beyond its limit.

    What a source at its limit leaves goes to the others by their shares; where all are at their limits there are
    fewer steps.
    """
    found: dict[str, int] = {}
    open_names, left = [name for name in share if share[name] > 0], steps
    while open_names:
        total = sum(share[name] for name in open_names)
        exact = {name: share[name] / total * left for name in open_names}
        over = [name for name in open_names if limits is not None and exact[name] > limits[name]]
        if not over:
            return {**dict.fromkeys(share, 0), **found, **_whole(exact, left)}
        for name in over:
            found[name] = limits[name] if limits is not None else 0
            left -= found[name]
        open_names = [name for name in open_names if name not in over]
    return {**dict.fromkeys(share, 0), **found}


def _whole(exact: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that sum to `total`; the largest remainders are rounded up."""
    floors = {name: int(value) for name, value in exact.items()}
    names = sorted(exact, key=lambda name: floors[name] - exact[name])
    return {name: floors[name] + (name in names[: total - sum(floors.values())]) for name in exact}


def plan(drawn: Mapping[str, int], rng: np.random.Generator) -> list[str]:
    """A shuffled list that holds each source as often as it is drawn."""
    return [str(name) for name in rng.permutation(np.repeat(list(drawn), list(drawn.values())))]


def round_robin(names: Sequence[str], steps: int, limits: Mapping[str, int] | None = None) -> list[str]:
    """One source after the other, again and again; one that is at its limit is passed over."""
    order: list[str] = []
    used = dict.fromkeys(names, 0)
    while len(order) < steps:
        open_names = [name for name in names if limits is None or used[name] < limits[name]]
        if not open_names:
            break
        for name in open_names[: steps - len(order)]:
            order.append(name)
            used[name] += 1
    return order


def together(
    order: Sequence[str], tasks: Mapping[str, Collection[str]], limits: Mapping[str, int] | None = None
) -> list[tuple[str, ...]]:
    """Steps that draw one batch for every task each: `tasks` says which a source feeds.

    Each task draws from its own sources in the order of `order`, from the start again where it is through; there
    are as many steps as the draws of `order` suffice for, or fewer where a task is left without a source that is
    under its limit.
    """
    names = list(dict.fromkeys(task for fed in tasks.values() for task in fed))
    queues = {task: [name for name in order if task in tasks[name]] for task in names}
    for task, queue in queues.items():  # a short run draws a small source not once; its task needs it all the same
        queue.extend([name for name in tasks if task in tasks[name]] if not queue else [])
    turns = {task: cycle(queue) for task, queue in queues.items()}
    left = {name: len(order) if limits is None else limits[name] for name in tasks}
    steps: list[tuple[str, ...]] = []
    drawn = 0
    while drawn < len(order):
        step: list[str] = []
        for task in names:
            if any(task in tasks[name] for name in step):
                continue
            if not any(left[name] for name in queues[task]):
                return steps
            name = next(name for name in turns[task] if left[name])
            step.append(name)
            left[name] -= 1
        steps.append(tuple(step))
        drawn += len(step)
    return steps
