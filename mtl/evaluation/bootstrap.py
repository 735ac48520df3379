"""How sure a figure is: of other rows by drawing them again, of other training runs by the spread over seeds.

The limits of rows are those of the percentile bootstrap (Efron & Tibshirani 1993, chapter 13); those of seeds
are Student's, since a bootstrap over a few seeds is far too narrow; both are joined as independent errors.
Knows no model; reads the `statistics` of a task, a row of numbers for each row of a test set.
"""

from __future__ import annotations

import math
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
    """A figure with its 95 % limits."""

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
    drawn = [task.summarise(statistics[rng.integers(n_rows, size=n_rows)], whole=statistics) for _ in range(draws)]
    return {name: _interval(value, [d[name] for d in drawn]) for name, value in task.summarise(statistics).items()}


def mean_interval(task: Task, runs: Sequence[Sequence[Statistics]], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The primary metric, a mean over seeds and test sets: `runs[seed][set]` is (n of the set, S)."""
    drawn = [float(np.mean(_by_seed(task, runs, rows))) for rows in _draws(runs, draws, seed)]
    return _joined(_by_seed(task, runs), drawn)


def difference(
    task: Task,
    ours: Sequence[Sequence[Statistics]],
    theirs: Sequence[Sequence[Statistics]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Ours minus theirs in the primary metric; both are read at the same seeds and drawn rows (paired).

    With one seed the limits are those of other test rows only; with several, of other training runs as well.

    Raises:
        ValueError: where the two do not hold the same seeds, sets and rows.
    """
    if [[len(s) for s in run] for run in ours] != [[len(s) for s in run] for run in theirs]:
        raise ValueError("a paired comparison needs the same seeds, sets and rows on both sides")
    drawn = [
        float(np.mean(_by_seed(task, ours, rows) - _by_seed(task, theirs, rows))) for rows in _draws(ours, draws, seed)
    ]
    return _joined(_by_seed(task, ours) - _by_seed(task, theirs), drawn)


def _draws(runs: Sequence[Sequence[Statistics]], draws: int, seed: int) -> Iterator[list[NDArray[np.int64]]]:
    """Rows of each test set, the same ones for every seed."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield [rng.integers(len(s), size=len(s)) for s in runs[0]]


def _by_seed(
    task: Task, runs: Sequence[Sequence[Statistics]], rows: Sequence[NDArray[np.int64]] | None = None
) -> NDArray[np.float64]:
    """(seeds,): the primary metric, a mean over test sets."""
    chosen = rows or [np.arange(len(s)) for s in runs[0]]
    return np.array([np.mean([task.primary_value(s[r]) for s, r in zip(run, chosen, strict=True)]) for run in runs])


def _joined(by_seed: NDArray[np.float64], drawn: Sequence[float]) -> Interval:
    """The mean over seeds, with the limits of its rows widened by the error of its seeds."""
    rows = _interval(float(np.mean(by_seed)), drawn)
    half = _half_width(by_seed)
    return Interval(
        rows.value,
        rows.value - math.hypot(rows.value - rows.low, half),
        rows.value + math.hypot(rows.high - rows.value, half),
    )


def _half_width(by_seed: NDArray[np.float64]) -> float:
    """Half of Student's 95 % limits of a mean; 0 of one value, which says nothing of others."""
    from scipy.stats import t as student

    n = len(by_seed)
    return 0.0 if n < 2 else float(student.ppf(0.975, n - 1) * np.std(by_seed, ddof=1) / math.sqrt(n))


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))
