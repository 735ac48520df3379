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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from mtl.data.batches import Source
from mtl.errors import ConfigError, DataError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor, from_encoder
from mtl.tasks import Task
from mtl.training.config import FreezePolicy, TrainConfig
from mtl.training.events import RunEvent, StepEnded
from mtl.training.recipe import Recipe, build_tasks, load_sources, provenance
from mtl.training.retention import Teacher
from mtl.training.trainer import step_plan, train

SHARED, SINGLE, PROBE, FREE = "multi-task", "single-task", "frozen probe", "without retention"
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
    teachers: dict[str, Teacher] = field(default_factory=dict)


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
    _claim(output, recipe, cap)
    tasks = build_tasks(recipe, data_root)
    train_rows, validation, test = (load_sources(recipe, tasks, data_root, s) for s in ("train", "validation", "test"))
    _check_tests(tasks, test)
    bench = Bench(recipe, tasks, capped(train_rows, cap), validation, test, device)
    wanted = runs(tasks, seeds)
    for place, run in enumerate(wanted, start=1):
        path = output / "runs" / run.file
        if path.is_file():
            yield Progress(run, place, len(wanted), read_result(path))
            continue
        for news in train_run(bench, run):
            if isinstance(news, RunResult):
                _write(path, TypeAdapter(RunResult).dump_json(news))
            yield Progress(run, place, len(wanted), news)


def runs(tasks: Sequence[Task], seeds: Sequence[int]) -> list[Run]:
    """Every run, seed by seed, so that a comparison that was stopped early has whole seeds."""
    arms = [(SHARED, None), *((SINGLE, task.name) for task in tasks), (PROBE, None), (FREE, None)]
    return [Run(arm, task, seed) for seed in seeds for arm, task in arms]


def capped(sources: Sequence[Source], cap: int | None, *, seed: int = 0) -> list[Source]:
    """At most `cap` rows a task: small sets stay whole, larger ones share what is left evenly."""
    if cap is None:
        return list(sources)
    groups: dict[tuple[str, ...], list[Source]] = {}
    for source in sources:
        groups.setdefault(_tasks_of(source), []).append(source)
    sizes: dict[str, int] = {}
    for group in groups.values():
        left = cap
        for place, source in enumerate(sorted(group, key=lambda s: len(s.examples))):
            sizes[source.name] = min(len(source.examples), left // (len(group) - place))
            left -= sizes[source.name]
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
    sources = [s for s in bench.train if run.task is None or run.task in _tasks_of(s)]
    if run.arm == PROBE:
        sources = [s for s in sources if any(_size(predictor, name) for name in _tasks_of(s))]
    trained = {name for source in sources for name in _tasks_of(source)}
    config = config_of(bench, run, sources, predictor)
    teacher = None
    if config.retention is not None:
        teacher = bench.teachers.setdefault(recipe.encoder, Teacher(predictor.copy()))
    start, steps, tokens = time.monotonic(), 0, 0
    validation = [s for s in bench.validation if trained & set(_tasks_of(s))]
    for event in train(predictor, sources, validation, config, teacher=teacher):
        if isinstance(event, StepEnded):
            steps, tokens = event.step, tokens + event.tokens
        yield event
    seconds = time.monotonic() - start
    scored = {name: _size(predictor, name) for name in (task.name for task in bench.tasks)}
    metrics, statistics = {}, {}
    for source in bench.test:
        for name in _tasks_of(source):
            if name in trained or not scored[name]:
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
        parameters=_size(predictor) + sum(scored[name] for name in trained),
        metrics=metrics,
        statistics=statistics,
    )


def config_of(bench: Bench, run: Run, sources: Sequence[Source], predictor: Predictor) -> TrainConfig:
    """How an arm trains: as the recipe says, but for what the arm is about, with the shared run's steps."""
    config = replace(bench.recipe.training, seed=run.seed)
    shared = step_plan(bench.train, predictor.tokenizer, config, np.random.default_rng(run.seed))
    steps = Counter(shared.order)
    config = replace(config, steps=sum(steps[source.name] for source in sources))
    if run.arm == PROBE:
        return replace(config, freeze=FreezePolicy(encoder=True), retention=None)
    if run.arm == SINGLE:
        config = replace(config, select_by="mean")
    return config if run.arm == SHARED else replace(config, retention=None)


def read_result(path: Path) -> RunResult:
    """One finished run.

    Raises:
        DataError: for a damaged file.
    """
    try:
        return TypeAdapter(RunResult).validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path}: is damaged; delete it and compare again, which computes it anew") from error


def _claim(output: Path, recipe: Recipe, cap: int | None) -> None:
    """Writes the settings of a comparison into its folder, or checks that they are those that stand there."""
    whole = provenance(recipe)
    training = {k: v for k, v in whole["training"].items() if k != "seed"}  # type: ignore[attr-defined]
    mine = {**whole, "training": training, "tasks": recipe.tasks, "cap": cap}
    text = json.dumps(mine, indent=2, ensure_ascii=False).encode()
    path = output / "settings.json"
    if path.is_file() and path.read_bytes() != text:
        raise ConfigError(f"{output}: holds a comparison of another recipe or cap; choose another --output")
    _write(path, text)


def _check_tests(tasks: Sequence[Task], test: Sequence[Source]) -> None:
    covered = {name for source in test for name in _tasks_of(source)}
    for task in tasks:
        if task.name not in covered:
            raise DataError(f"task {task.name!r} has no test set; give one of its sources a `test:` file")


def _tasks_of(source: Source) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in source.examples for name in row.targets))


def _size(predictor: Predictor, head: str | None = None) -> int:
    module = predictor.model.encoder if head is None else predictor.model.heads[head]
    return sum(p.numel() for p in module.parameters())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
