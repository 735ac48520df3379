"""Results of a comparison -> figures with intervals, verdicts in words, and what one pass saves. Trains nothing."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from mtl.errors import DataError
from mtl.evaluation.bootstrap import Interval, Statistics, Verdict, difference, mean_interval
from mtl.inference.predictor import Predictor
from mtl.tasks import Task
from mtl.training.compare import FREE, PROBE, SHARED, SINGLE, RunResult

COMPARISON_FILE = "comparison.json"
RIVALS = (SINGLE, PROBE, FREE)
ONE_SEED = "One seed: the limits are those of other test rows, not of another training run; compare with --seeds 3."


@dataclass(frozen=True, kw_only=True)
class Score:
    """The primary metric of an arm on a task (`source` None: a mean over its test sets), a mean over seeds."""

    task: str
    source: str | None
    metric: str
    arm: str
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The shared model minus a rival, paired, with what it says in a word."""

    task: str
    source: str | None
    metric: str
    against: str
    interval: Interval
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Mean cost of the runs of an arm; specialists are summed over tasks."""

    arm: str
    steps: float
    seconds: float
    parameters: int


@dataclass(frozen=True, kw_only=True)
class OnePass:
    """Every task from one pass against one pass a task: median of paired runs on `texts` texts."""

    texts: int
    passes: int
    ratio: float


@dataclass(frozen=True, kw_only=True)
class SharingReport:
    """Everything that a comparison found. `forgetting`: similarity after each specialist's training."""

    encoder: str
    cap: int | None
    seeds: tuple[int, ...]
    machine: str
    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    forgetting: tuple[Score, ...]
    costs: tuple[Cost, ...]
    one_pass: OnePass


def summarise(
    results: Sequence[RunResult], tasks: Sequence[Task], *, encoder: str, cap: int | None, one_pass: OnePass
) -> SharingReport:
    """All arms over the seeds that every arm has.

    Raises:
        DataError: where no seed is complete.
    """
    table = _Table(results, tasks)
    scores, differences, forgetting = [], [], []
    for task in tasks:
        for source in (None, *table.sources(task)):
            where = {"task": task.name, "source": source, "metric": task.primary}
            ours = table.statistics(task, SHARED, source)
            for arm in (SHARED, *RIVALS):
                theirs = table.statistics(task, arm, source)
                if theirs is None or ours is None:
                    continue
                scores.append(Score(**where, arm=arm, interval=mean_interval(task, theirs)))  # type: ignore[arg-type]
                if arm != SHARED:
                    gap = difference(task, ours, theirs)
                    differences.append(Difference(**where, against=arm, interval=gap, verdict=gap.verdict))  # type: ignore[arg-type]
        for other in tasks:
            found = table.statistics(task, SINGLE, None, specialist=other.name)
            if other != task and found is not None:
                forgetting.append(
                    Score(
                        task=task.name,
                        source=None,
                        metric=task.primary,
                        arm=f"{SINGLE} {other.name}",
                        interval=mean_interval(task, found),
                    )
                )
    return SharingReport(
        encoder=encoder,
        cap=cap,
        seeds=tuple(table.seeds),
        machine=machine(),
        scores=tuple(scores),
        differences=tuple(differences),
        forgetting=tuple(forgetting),
        costs=tuple(table.cost(arm) for arm in (SHARED, *RIVALS)),
        one_pass=one_pass,
    )


class _Table:
    """Results by arm, specialist and seed."""

    def __init__(self, results: Sequence[RunResult], tasks: Sequence[Task]) -> None:
        self.by_run = {(r.arm, r.task, r.seed): r for r in results}
        specialists = [(SINGLE, task.name) for task in tasks]
        self.wanted = [(SHARED, None), *specialists, (PROBE, None), (FREE, None)]
        self.seeds = [
            seed for seed in sorted({r.seed for r in results}) if all((*w, seed) in self.by_run for w in self.wanted)
        ]
        if not self.seeds:
            raise DataError("no seed has all its runs; call compare again, which goes on where it stopped")

    def sources(self, task: Task) -> list[str]:
        """The test sets of a task; none where it has one only, which then is the task's mean."""
        found = [name.rpartition("/") for name in self.by_run[SHARED, None, self.seeds[0]].metrics]
        mine = [source for source, _, name in found if name == task.name]
        return mine if len(mine) > 1 else []

    def statistics(
        self, task: Task, arm: str, source: str | None, *, specialist: str | None = None
    ) -> list[list[Statistics]] | None:
        """`[seed][test set]`; None where the arm says nothing of the task."""
        own = (specialist or task.name) if arm == SINGLE else None
        runs = [self.by_run[arm, own, seed] for seed in self.seeds]
        wanted = [
            name
            for name in self.by_run[SHARED, None, self.seeds[0]].metrics
            if name.rpartition("/")[2] == task.name and source in (None, name.rpartition("/")[0])
        ]
        if any(name not in run.statistics for run in runs for name in wanted):
            return None
        return [[np.asarray(run.statistics[name]) for name in wanted] for run in runs]

    def cost(self, arm: str) -> Cost:
        runs = [self.by_run[a, task, seed] for a, task in self.wanted if a == arm for seed in self.seeds]
        n = len(self.seeds)
        return Cost(
            arm=arm,
            steps=sum(r.steps for r in runs) / n,
            seconds=round(sum(r.seconds for r in runs) / n, 1),
            parameters=sum(r.parameters for r in runs) // n,
        )


def measure_one_pass(predictor: Predictor, texts: Sequence[str], *, repeats: int = 5) -> OnePass:
    """How much longer one pass for each task takes than one pass for all: median of the ratios of paired runs."""
    single = [task.name for task in predictor.tasks if task.n_texts == 1]
    passes = [[name] for name in single] + [[] for task in predictor.tasks if task.n_texts == 2]
    ratios = []
    predictor.analyze(texts, tasks=single)  # warm
    for _ in range(repeats):
        together = _seconds(predictor, texts, [single])
        ratios.append(_seconds(predictor, texts, passes) / together)
    return OnePass(texts=len(texts), passes=len(passes), ratio=round(float(np.median(ratios)), 2))


def _seconds(predictor: Predictor, texts: Sequence[str], passes: Sequence[Sequence[str]]) -> float:
    start = time.perf_counter()
    for tasks in passes:
        predictor.analyze(texts, tasks=tasks)
    return time.perf_counter() - start


def machine() -> str:
    """The machine in words, without its name."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def write(comparison: SharingReport, path: Path) -> None:
    """Writes it as JSON."""
    path.write_bytes(TypeAdapter(SharingReport).dump_json(comparison, indent=1) + b"\n")


def read(path: Path) -> SharingReport:
    """Reads what `write` wrote.

    Raises:
        DataError: for a damaged file.
    """
    try:
        return TypeAdapter(SharingReport).validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path}: is no comparison; `python -m mtl compare` writes one") from error


def in_words(comparison: SharingReport) -> list[str]:
    """One sentence a verdict: each task against specialists, probes and the model that is free to forget."""
    lines = []
    for gap in comparison.differences:
        if gap.source is not None:
            continue
        mine = next(s for s in comparison.scores if (s.task, s.source, s.arm) == (gap.task, None, SHARED))
        low, high = gap.interval.low, gap.interval.high
        lines.append(
            f"{gap.task}: {gap.verdict} than {gap.against}"
            if gap.verdict != "same"
            else f"{gap.task}: not told apart from {gap.against}"
        )
        lines[-1] += f" ({gap.metric} {mine.interval.value:.3f}, {gap.interval.value:+.3f} [{low:+.3f}, {high:+.3f}])"
    if len(comparison.seeds) == 1:
        lines.append(ONE_SEED)
    return lines
