"""How sure a figure is: rows are drawn again, with replacement (Efron & Tibshirani 1993, chapter 13).

Knows no model; reads the `statistics` of a task, a row of numbers for each row of a test set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mtl.tasks import Task

Verdict = Literal["better", "same", "worse"]
Statistics: TypeAlias = NDArray[np.float64]
DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """A figure with the limits that hold 95 % of the drawn ones."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """What a difference says: `same` where 0 lies within its limits."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "same"


def intervals(task: Task, statistics: Statistics, *, draws: int = DRAWS, seed: int = 0) -> Mapping[str, Interval]:
    """Each metric of one run on one test set of n rows, (n, S)."""
    rng = np.random.default_rng(seed)
    n_rows = len(statistics)
    drawn = [task.summarise(statistics[rng.integers(n_rows, size=n_rows)]) for _ in range(draws)]
    return {name: _interval(value, [d[name] for d in drawn]) for name, value in task.summarise(statistics).items()}


def mean_interval(task: Task, runs: Sequence[Sequence[Statistics]], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The primary metric, a mean over seeds and test sets: `runs[seed][set]` is (n of the set, S)."""
    drawn = [_mean(task, runs, draw) for draw in _draws(runs, draws, seed)]
    return _interval(_mean(task, runs, _whole(runs)), drawn)


def difference(
    task: Task,
    ours: Sequence[Sequence[Statistics]],
    theirs: Sequence[Sequence[Statistics]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Ours minus theirs in the primary metric; both are read at the same drawn seeds and rows (paired).

    Seeds are drawn again as well as rows, so that the limits hold for another training run, not only for
    other test rows.

    Raises:
        ValueError: where the two do not hold the same seeds, sets and rows.
    """
    if [[len(s) for s in run] for run in ours] != [[len(s) for s in run] for run in theirs]:
        raise ValueError("a paired comparison needs the same seeds, sets and rows on both sides")
    drawn = [_mean(task, ours, draw) - _mean(task, theirs, draw) for draw in _draws(ours, draws, seed)]
    whole = _whole(ours)
    return _interval(_mean(task, ours, whole) - _mean(task, theirs, whole), drawn)


@dataclass(frozen=True)
class _Draw:
    seeds: NDArray[np.int64]
    rows: Sequence[NDArray[np.int64]]


def _whole(runs: Sequence[Sequence[Statistics]]) -> _Draw:
    return _Draw(np.arange(len(runs)), [np.arange(len(s)) for s in runs[0]])


def _draws(runs: Sequence[Sequence[Statistics]], draws: int, seed: int) -> Iterator[_Draw]:
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        seeds = rng.integers(len(runs), size=len(runs))
        yield _Draw(seeds, [rng.integers(len(s), size=len(s)) for s in runs[0]])


def _mean(task: Task, runs: Sequence[Sequence[Statistics]], draw: _Draw) -> float:
    return float(
        np.mean(
            [task.primary_value(runs[seed][place][rows]) for seed in draw.seeds for place, rows in enumerate(draw.rows)]
        )
    )


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))
