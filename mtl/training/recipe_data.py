"""What a recipe names, read from its files: tasks with their labels, and the examples of each source."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from mtl.data import tables
from mtl.data.batches import Source
from mtl.data.splits import split as divide
from mtl.data.splits import text_key
from mtl.errors import ConfigError
from mtl.tasks import TASK_TYPES, Task, from_spec
from mtl.tasks.base import choices
from mtl.tasks.classification import Classification, balanced
from mtl.training.recipe import Recipe
from mtl.types import Example

FROM_DATA = "from data"
BALANCED = "balanced"


def build_tasks(recipe: Recipe, data_root: Path) -> list[Task]:
    """The tasks of a recipe; `labels: from data` and `class_weights: balanced` are read off the training files.

    Raises:
        ConfigError, DataError: where a task or its data is wrong.
    """
    return [build_task(recipe, name, data_root) for name in recipe.tasks]


def build_task(recipe: Recipe, name: str, data_root: Path) -> Task:
    """One task of a recipe, as `build_tasks` makes it."""
    spec = {**recipe.tasks[name], "name": name, "labels": _labels(recipe, name, data_root)}
    if spec.get("class_weights") != BALANCED:
        return from_spec(spec)
    task = from_spec({**spec, "class_weights": ()})
    mine = replace(recipe, sources={key: source for key, source in recipe.sources.items() if name in source.tasks})
    rows = [row for source in load_sources(mine, [task], data_root, "train") for row in source.examples]
    gold = [str(row.targets[name]) for row in rows if name in row.targets]
    return from_spec({**spec, "class_weights": balanced(gold, task.labels)})


def _labels(recipe: Recipe, name: str, data_root: Path) -> Sequence[str]:
    labels = recipe.tasks[name].get("labels", ())
    if isinstance(labels, (list, tuple)) and any(isinstance(label, bool) for label in labels):
        raise ConfigError(f"task {name!r}: YAML reads yes, no, on and off as true and false; put its labels in quotes")
    if labels != FROM_DATA:
        return labels  # type: ignore[return-value]
    kind = TASK_TYPES.get(str(recipe.tasks[name].get("type")))
    found: dict[str, None] = {}
    for spec in recipe.sources.values():
        if kind is not None and name in spec.tasks:
            rows = tables.read(data_root / spec.train, columns=spec.columns).rows
            found |= dict.fromkeys(spec.map.get(label, label) for label in kind.labels_in(rows))
    return sorted(found)


def load_sources(
    recipe: Recipe, tasks: Sequence[Task], data_root: Path, split: str, *, also_held: Collection[str] = ()
) -> list[Source]:
    """The `train`, `validation` or `test` part of every source that has one.

    Training rows whose text also stands in a validation or test file of the recipe, or among `also_held`
    (keys as `held_out` gives them), are left out.

    Raises:
        ConfigError: for labels of `among` that the tasks of its source do not have.
        DataError: for a file or rows that cannot be used.
    """
    held = {*also_held, *held_out(recipe, tasks, data_root)} if split == "train" else set()
    found = (load_source(recipe, name, tasks, data_root, split, held) for name in recipe.sources)
    return [source for source in found if source is not None]


def load_source(
    recipe: Recipe, name: str, tasks: Sequence[Task], data_root: Path, split: str, held: Collection[str] = ()
) -> Source | None:
    """One source of a recipe without the rows whose keys are in `held`; None where it has no such part.

    Raises:
        ConfigError, DataError: as `load_sources` does.
    """
    spec = recipe.sources[name]
    chosen = [task for task in tasks if task.name in spec.tasks]
    for task in chosen:
        if spec.among and (not isinstance(task, Classification) or set(spec.among) - set(task.labels)):
            raise ConfigError(
                f"source {name!r}: among is {choices(spec.among)}; task {task.name!r} ({task.kind}) has "
                f"{choices(task.labels) or 'no labels'}"
            )
    path = getattr(spec, split)
    if path is None:
        return None
    share = spec.validation if isinstance(spec.validation, (int, float)) else None
    from_train = split == "train" or (split == "validation" and share is not None)
    table = tables.read(data_root / (spec.train if from_train else path), columns=spec.columns)
    rows: Sequence[Example] = tables.examples(table, chosen, rename=spec.map)
    if share is not None and from_train:
        parts = divide([row for row in rows if row.targets], share=share)
        rows = parts.train if split == "train" else parts.validation
    rows = [row for row in rows if text_key(row) not in held]
    rows = rows[: spec.limit] if split == "train" else rows
    return Source(name, rows, spec.weight, spec.among, spec.replace_mentions)


def rows_digest(sources: Sequence[Source]) -> str:
    """Equal for the same rows with the same targets in the same order."""
    digest = hashlib.sha256()
    for source in sources:
        rows = [(row.texts, sorted(row.targets.items())) for row in source.examples]
        digest.update(repr((source.name, rows)).encode())
    return digest.hexdigest()


def held_out(recipe: Recipe, tasks: Sequence[Task], data_root: Path) -> set[str]:
    """The keys of all validation and test texts of a recipe.

    Raises:
        DataError: for a file or rows that cannot be used.
    """
    parts = [load_sources(recipe, tasks, data_root, split) for split in ("validation", "test")]
    return {text_key(row) for sources in parts for source in sources for row in source.examples}
