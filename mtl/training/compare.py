"""Was sharing worth it? One recipe, trained in several ways on the same rows and scored on its test sets.

    multi-task         the recipe as it is
    single-task        one specialist a task: the whole encoder for that task alone, without retention
    frozen probe       heads on the untouched encoder
    without retention  the recipe, free to forget

Equal budget: a specialist takes as many steps on each data set of its task as the shared run takes on it.
The result of each run is a file of its own; what is there is not computed again. `verdict.py` reads them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from mtl.data.batches import Source
from mtl.errors import ConfigError, DataError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor, from_encoder
from mtl.model.checkpoint import write_whole
from mtl.tasks import Task
from mtl.training.config import Balancing, FreezePolicy, TrainConfig
from mtl.training.events import RunEvent, StepEnded
from mtl.training.plan import step_plan
from mtl.training.recipe import Recipe
from mtl.training.recipe_data import build_tasks, load_sources, rows_digest
from mtl.training.retention import Teacher
from mtl.training.trainer import train

SHARED, SINGLE, PROBE, FREE = "multi-task", "single-task", "frozen probe", "without retention"
SETTINGS = "settings.json"
CAP = 8000
"""Rows a task: keeps a comparison with three seeds within a few hours of two CPU cores."""


@dataclass(frozen=True)
class Run:
    """One training run: an arm, the task of a specialist, a seed."""

    arm: str
    task: str | None
    seed: int

    @property
    def name(self) -> str:
        return " ".join([self.arm, *([self.task] if self.task else [])])

    @property
    def file(self) -> str:
        """The name of its result's file."""
        return f"{self.name.replace(' ', '-')}-{self.seed}.json"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one run cost and reached.

    parameters  of the encoder and of the heads that it trained
    metrics     by `source/task`; a test set of a task whose head has no parameters is scored by every run
    statistics  by `source/task`: rows of numbers as `Task.statistics` gives them
    """

    arm: str
    task: str | None
    seed: int
    steps: int
    tokens: int
    seconds: float
    parameters: int
    metrics: dict[str, dict[str, float]]
    statistics: dict[str, list[list[float]]] = field(repr=False)


@dataclass(frozen=True)
class Progress:
    """What a comparison says while it works: an event of the run, or at its end (also of old) its result."""

    run: Run
    place: int
    total: int
    news: RunEvent | RunResult


@dataclass(frozen=True)
class Bench:
    """What all runs of a comparison share."""

    recipe: Recipe
    tasks: Sequence[Task]
    train: Sequence[Source]
    validation: Sequence[Source]
    test: Sequence[Source]
    device: str
    teacher: list[Teacher] = field(default_factory=list)


@dataclass(frozen=True)
class ArmPlan:
    """How an arm trains, and the data sets of each of its steps."""

    config: TrainConfig
    order: tuple[tuple[str, ...], ...]


def compare(
    recipe: Recipe,
    data_root: Path,
    output: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    cap: int | None = CAP,
    device: str = "auto",
) -> Iterator[Progress]:
    """Trains every arm with every seed and writes each result into `output/runs`; goes on where it stopped.

    Raises:
        ConfigError: where `output` holds a comparison of other settings.
        DataError: where a task has no test set, or data cannot be read.
    """
    tasks = build_tasks(recipe, data_root)
    train_rows, validation, test = (load_sources(recipe, tasks, data_root, s) for s in ("train", "validation", "test"))
    _check(recipe, tasks, test)
    bench = Bench(recipe, tasks, capped(train_rows, cap), validation, test, device)
    settings = _settings(bench, cap)
    _check_claim(output, settings)
    wanted = runs(tasks, seeds)
    for place, run in enumerate(wanted, start=1):
        path = output / "runs" / run.file
        if path.is_file():
            yield Progress(run, place, len(wanted), read_result(path))
            continue
        for news in train_run(bench, run):
            if isinstance(news, RunResult):
                write_whole(output / SETTINGS, settings)
                write_whole(path, TypeAdapter(RunResult).dump_json(news))
            yield Progress(run, place, len(wanted), news)


def runs(tasks: Sequence[Task], seeds: Sequence[int]) -> list[Run]:
    """Every run, seed by seed, so that a comparison that was stopped early has whole seeds."""
    arms = [(SHARED, None), *((SINGLE, task.name) for task in tasks), (PROBE, None), (FREE, None)]
    return [Run(arm, task, seed) for seed in seeds for arm, task in arms]


def capped(sources: Sequence[Source], cap: int | None, *, seed: int = 0) -> list[Source]:
    """At most `cap` rows a task: small sets stay whole, larger ones share what is left evenly."""
    if cap is None:
        return list(sources)
    sizes = {s.name: len(s.examples) for s in sources}
    for task in dict.fromkeys(name for source in sources for name in _tasks_of(source)):
        mine = sorted((s.name for s in sources if task in _tasks_of(s)), key=sizes.__getitem__)
        left = cap
        for place, name in enumerate(mine):
            sizes[name] = min(sizes[name], left // (len(mine) - place))
            left -= sizes[name]
    rng = np.random.default_rng(seed)
    chosen = {s.name: sorted(rng.permutation(len(s.examples))[: sizes[s.name]]) for s in sources}
    return [replace(s, examples=[s.examples[i] for i in chosen[s.name]]) for s in sources]


def train_run(bench: Bench, run: Run) -> Iterator[RunEvent | RunResult]:
    """The events of one run and then its result."""
    recipe = bench.recipe
    predictor = from_encoder(
        recipe.encoder,
        bench.tasks,
        pooling=recipe.pooling,
        max_tokens=recipe.max_tokens,
        device=bench.device,
        precision=recipe.training.precision,
        seed=run.seed,
    )
    wanted = {task.name for task in bench.tasks if run.task in (None, task.name)}
    if run.arm == PROBE:  # a head without parameters has nothing to learn on a frozen encoder
        wanted = {name for name in wanted if _size(predictor, name)}
    if run.arm == SHARED:
        for task in bench.tasks:  # before hours are spent on the others
            plan_of(bench, Run(SINGLE, task.name, run.seed), {task.name}, predictor)
    teacher = _teacher(bench, predictor) if run.arm == SHARED else None  # before the clock starts
    start, steps, tokens = time.monotonic(), 0, 0
    for event in _events(bench, run, wanted, predictor, teacher) if wanted else ():
        if isinstance(event, StepEnded):
            steps, tokens = event.step, tokens + event.tokens
        yield event
    seconds = time.monotonic() - start
    scored = {name: _size(predictor, name) for name in (task.name for task in bench.tasks)}
    metrics, statistics = {}, {}
    for source in bench.test:
        for name in _tasks_of(source):
            if name in wanted or not scored[name]:
                found = evaluate(predictor, name, source.examples, labels=source.among or None)
                metrics[f"{source.name}/{name}"] = dict(found.metrics)
                statistics[f"{source.name}/{name}"] = found.statistics.tolist()
    yield RunResult(
        arm=run.arm,
        task=run.task,
        seed=run.seed,
        steps=steps,
        tokens=tokens,
        seconds=seconds,
        parameters=_size(predictor) + sum(scored[name] for name in wanted),
        metrics=metrics,
        statistics=statistics,
    )


def _teacher(bench: Bench, predictor: Predictor) -> Teacher | None:
    """The encoder as it came, which knows the vector of every training text; made once for all seeds."""
    if bench.recipe.training.retention is None:
        return None
    if not bench.teacher:
        found = Teacher(predictor.copy())
        found.vectors([text for source in bench.train for row in source.examples for text in row.texts])
        bench.teacher.append(found)
    return bench.teacher[0]


def _events(
    bench: Bench, run: Run, wanted: set[str], predictor: Predictor, teacher: Teacher | None
) -> Iterator[RunEvent]:
    plan = plan_of(bench, run, wanted, predictor)
    drawn = {name for step in plan.order for name in step}
    sources = [s for s in _only(bench.train, wanted) if s.name in drawn]
    yield from train(
        predictor, sources, _only(bench.validation, wanted), plan.config, teacher=teacher, order=plan.order
    )


def plan_of(bench: Bench, run: Run, wanted: set[str], predictor: Predictor) -> ArmPlan:
    """How an arm trains: as the recipe says but for what the arm is about, in the shared run's own steps.

    Raises:
        ConfigError: where the shared run takes no step for any of the wanted tasks.
    """
    config = replace(bench.recipe.training, seed=run.seed)
    shared = step_plan(bench.train, predictor.tokenizer, config)
    mine = {source.name for source in _only(bench.train, wanted)}
    steps = (tuple(name for name in step if name in mine) for step in shared.order)
    order = tuple(step for step in steps if step)
    if not order:
        raise ConfigError(
            f"the shared run takes no step for {', '.join(sorted(wanted))}; train longer or raise a weight"
        )
    if run.arm == SHARED:
        return ArmPlan(config, order)
    if run.arm == PROBE:
        config = replace(config, freeze=FreezePolicy(encoder=True))
    if run.arm in (PROBE, SINGLE):
        config = replace(config, select_by="mean", balancing=Balancing())
    return ArmPlan(replace(config, steps=len(order), retention=None), order)


def read_result(path: Path) -> RunResult:
    """One finished run.

    Raises:
        DataError: for a damaged file.
    """
    try:
        return TypeAdapter(RunResult).validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path}: is damaged; delete it and compare again, which computes it anew") from error


def _settings(bench: Bench, cap: int | None) -> bytes:
    """What all runs of a folder have in common: recipe, cap, and a digest of the rows."""
    mine = TypeAdapter(Recipe).dump_python(bench.recipe, mode="json")
    for not_compared in ("teachers", "probes"):
        mine.pop(not_compared)
    mine["training"].pop("seed")
    rows = rows_digest([*bench.train, *bench.validation, *bench.test])
    return json.dumps({**mine, "cap": cap, "rows": rows}, indent=2, ensure_ascii=False).encode()


def _check_claim(output: Path, settings: bytes) -> None:
    path = output / SETTINGS
    if path.is_file() and path.read_bytes() != settings:
        raise ConfigError(f"{output}: holds a comparison of another recipe, cap or data; choose another --output")


def _check(recipe: Recipe, tasks: Sequence[Task], test: Sequence[Source]) -> None:
    if recipe.training.freeze.encoder or recipe.training.freeze.everything:
        raise ConfigError("training.freeze.encoder is true: every arm would be a frozen probe; release the encoder")
    covered = {name for source in test for name in _tasks_of(source)}
    for task in tasks:
        if task.name not in covered:
            raise DataError(f"task {task.name!r} has no test set; give one of its sources a `test:` file")


def _only(sources: Sequence[Source], tasks: Collection[str]) -> list[Source]:
    """The sources that feed these tasks, without the targets of any other."""
    kept = []
    for source in sources:
        rows = [replace(r, targets={n: t for n, t in r.targets.items() if n in tasks}) for r in source.examples]
        if any(row.targets for row in rows):
            kept.append(replace(source, examples=[row for row in rows if row.targets]))
    return kept


def _tasks_of(source: Source) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in source.examples for name in row.targets))


def _size(predictor: Predictor, head: str | None = None) -> int:
    module = predictor.model.encoder if head is None else predictor.model.heads[head]
    return sum(p.numel() for p in module.parameters())
