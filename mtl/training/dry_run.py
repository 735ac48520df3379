"""A recipe looked at before it is trained: every problem at once, the mix of tasks, and what it will take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mtl.data.batches import Source, row_lengths
from mtl.errors import DataError, MtlError
from mtl.inference.predictor import Predictor
from mtl.tasks import Task
from mtl.training import memory
from mtl.training.beginning import beginning
from mtl.training.events import RunStarted, StepEnded
from mtl.training.imitation import check_encoders
from mtl.training.plan import Plan, SourceMix, TaskMix, source_mix, step_plan, task_mix
from mtl.training.probes import check_probes, read_probes
from mtl.training.recipe import Recipe, teacher_recipes
from mtl.training.recipe_data import build_task, load_source, load_sources
from mtl.training.trainer import train
from mtl.training.validation import check_select_by

Found = TypeVar("Found")

MEASURED_STEPS = 2


@dataclass(frozen=True)
class DryRun:
    """A recipe that can be trained, and what it takes.

    started   what the run will say before its first step: policy, counts, warnings
    seconds   of all steps of the model itself, from two measured ones; validations and teachers come on top
    memory    bytes after the measured steps; 0 where it is not known
    teachers  models that are trained first
    """

    started: RunStarted
    sources: tuple[SourceMix, ...]
    tasks: tuple[TaskMix, ...]
    validation_rows: int
    seconds: float
    memory: int
    teachers: int


class Problems:
    """Gathers what goes wrong in several attempts, to be said at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def attempt(self, call: Callable[[], Found]) -> Found | None:
        """What the call gives; None where a user's mistake ends it, which is kept."""
        try:
            return call()
        except MtlError as error:
            self.found.append(str(error))
            return None

    def raise_any(self) -> None:
        """One error that has them all.

        Raises:
            DataError: where there is any.
        """
        distinct = list(dict.fromkeys(self.found))
        if len(distinct) == 1:
            raise DataError(distinct[0])
        if distinct:
            raise DataError(f"{len(distinct)} problems:\n" + "\n".join(f"- {problem}" for problem in distinct))


def dry_run(recipe: Recipe, data_root: Path, *, device: str = "auto") -> DryRun:
    """Reads every file of a recipe, checks every row, plans the run and takes two steps that nothing keeps.

    Raises:
        DataError: with every problem of the tasks, the files and their rows.
        ConfigError, CheckpointError: for what comes to light only with the model.
    """
    tasks = _checked(recipe, data_root)
    sources = load_sources(recipe, tasks, data_root, "train")
    validation = load_sources(recipe, tasks, data_root, "validation")
    predictor = beginning(recipe, tasks, device=device)
    plan = step_plan(sources, predictor.tokenizer, recipe.training)
    started, per_token = _measure(predictor, sources, recipe, plan)
    n_steps = 0 if recipe.training.freeze.everything else len(plan.order)
    return DryRun(
        started=replace(started, steps=n_steps, shares=plan.shares, epochs=plan.epochs),
        sources=tuple(source_mix(source, plan) for source in sources),
        tasks=tuple(task_mix(task, sources, plan) for task in tasks),
        validation_rows=sum(min(len(s.examples), recipe.training.validation_rows) for s in validation),
        seconds=per_token * _tokens(predictor, sources, recipe, plan),
        memory=memory.in_use(predictor.model.device),
        teachers=len(recipe.teachers),
    )


def _checked(recipe: Recipe, data_root: Path) -> list[Task]:
    """The tasks of a recipe, all of whose files and rows were read."""
    problems = Problems()
    built: Mapping[str, Task | None] = {
        name: problems.attempt(lambda name=name: build_task(recipe, name, data_root))  # type: ignore[misc]
        for name in recipe.tasks
    }
    tasks = [task for task in built.values() if task is not None]
    for name, spec in recipe.sources.items():
        if any(built[task] is None for task in spec.tasks):
            continue
        for split in ("train", "validation", "test"):
            problems.attempt(
                lambda name=name, split=split: load_source(recipe, name, tasks, data_root, split)  # type: ignore[misc]
            )
    problems.attempt(lambda: check_select_by(recipe.training.select_by, tasks))
    problems.attempt(lambda: check_encoders(recipe.encoder, [t.encoder for t in teacher_recipes(recipe)]))
    if recipe.probes:
        problems.attempt(lambda: check_probes(read_probes(Path(recipe.probes)), tasks))
    problems.raise_any()
    return tasks


def _measure(predictor: Predictor, sources: list[Source], recipe: Recipe, plan: Plan) -> tuple[RunStarted, float]:
    """What a run says before it begins, and the seconds that a token takes after a first step to warm up."""
    config = replace(recipe.training, conflict=False, cache="off", snapshot_s=1e9)
    order = plan.order[: MEASURED_STEPS + 1]
    started: list[RunStarted] = []
    steps: list[StepEnded] = []
    for event in train(predictor, sources, [], config, order=order):
        if isinstance(event, RunStarted):
            started.append(event)
        elif isinstance(event, StepEnded):
            steps.append(event)
    measured = steps[1:]
    if not measured:
        return started[0], 0.0
    return started[0], sum(step.seconds for step in measured) / sum(step.tokens for step in measured)


def _tokens(predictor: Predictor, sources: list[Source], recipe: Recipe, plan: Plan) -> float:
    """Tokens that go through the encoder in the whole run; once each where its outputs are kept."""
    once = recipe.training.freeze.encoder and recipe.training.cache == "auto"
    total = 0.0
    for source in sources:
        epochs = plan.epochs[source.name]
        total += sum(row_lengths(source.examples, predictor.tokenizer)) * (min(epochs, 1.0) if once else epochs)
    return total


def in_words(found: DryRun) -> list[str]:
    """The report, line by line."""
    started = found.started
    learning, total = sum(started.trainable.values()), sum(started.total.values())
    width = max(6, *(len(mix.source) for mix in found.sources), *(len(mix.task) for mix in found.tasks))
    lines = [
        f"{started.policy} {learning:,} of {total:,} parameters learn:",
        "  " + ", ".join(f"{name} {count:,}" for name, count in started.trainable.items() if count),
        f"{'source':{width}} {'rows':>8} {'batches':>8} {'share':>7} {'epochs':>7}  tasks",
        *(
            f"{mix.source:{width}} {mix.rows:>8,} {mix.batches:>8,} {mix.share:>7.1%} {mix.epochs:>7.2f}  "
            f"{', '.join(mix.tasks)}"
            for mix in found.sources
        ),
        f"{'task':{width}} {'rows':>8} {'':8} {'':7} {'epochs':>7}",
        *(f"{mix.task:{width}} {mix.rows:>8,} {'':8} {'':7} {mix.epochs:>7.2f}" for mix in found.tasks),
    ]
    lines += [f"warning: {sentence}" for sentence in started.warnings]
    held = f", {found.memory / 1e9:.1f} GB of memory" if found.memory else ""
    lines.append(
        f"{started.steps:,} steps on {started.device}: about {_duration(found.seconds)}{held}, by two measured steps; "
        f"each validation of {found.validation_rows:,} rows comes on top"
    )
    if found.teachers:
        lines.append(f"{found.teachers} teachers are trained first, each about as long")
    return [*lines, "nothing was written"]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
