"""A recipe: one YAML file that names the encoder, the tasks, the data and how to train.

Knows files; the loop does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from mtl.data import tables
from mtl.data.batches import Source
from mtl.data.splits import text_key
from mtl.errors import ConfigError
from mtl.model.pooling import PoolingMode
from mtl.tasks import TASK_TYPES, Task, from_spec
from mtl.training.config import TrainConfig

FROM_DATA = "from data"


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """One data set: its files (relative to the data root), what it feeds, and where it comes from.

    columns  what the file calls our columns; map: labels of the data -> labels of the task
    among    the only labels that its gold uses: scoring it restricts the choice to them
    weight   how often it is drawn, relative to its size; limit: only the first so many training rows
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    tasks: tuple[str, ...]
    train: str
    validation: str | None = None
    test: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    map: dict[str, str] = field(default_factory=dict)
    among: tuple[str, ...] = ()
    weight: float = 1.0
    limit: int | None = None
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ConfigError(f"the weight of a source is {self.weight}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that one `python -m mtl train` needs. `licence` and `language` are for the model card.

    probes    a file of sentences with the answer that a person expects, relative to the recipe: the model card
              shows those that the model gets wrong (`model_card.read_probes`)
    teachers  so many models are trained first, by the same recipe with the next seeds; the last one learns
              from their mean answers too, `training.imitation`
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    encoder: str
    licence: str = ""
    language: str = ""
    pooling: PoolingMode = "mean"
    max_tokens: int = 256
    tasks: dict[str, dict[str, object]]
    sources: dict[str, SourceSpec]
    probes: str = ""
    teachers: int = 0
    training: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.teachers < 0:
            raise ConfigError(f"teachers is {self.teachers}; it must be 0 or more")
        if self.max_tokens < 8:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be 8 or more")
        for name, source in self.sources.items():
            for task in source.tasks:
                if task not in self.tasks:
                    raise ConfigError(
                        f"source {name!r} feeds task {task!r}, which is not among {', '.join(self.tasks)}"
                    )


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe; an override is `training.epochs=1`, its value read as YAML.

    Raises:
        ConfigError: for a missing file, broken YAML, or a field that is unknown or out of its limits.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a recipe") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: is no recipe; it must hold encoder, tasks and sources")
    for override in overrides:
        _override(values, override)
    if values.get("probes"):
        values["probes"] = str(path.parent / str(values["probes"]))
    try:
        return TypeAdapter(Recipe).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {place}: {first['msg']}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _override(values: dict[str, object], override: str) -> None:
    name, equals, value = override.partition("=")
    *parents, last = name.split(".")
    if not equals or not last:
        raise ConfigError(f"--set {override!r}: say NAME=VALUE, such as training.epochs=1")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} has no fields")
        values = child
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML; put it in quotes") from error


def build_tasks(recipe: Recipe, data_root: Path) -> list[Task]:
    """The tasks of a recipe; `labels: from data` reads them off the training files.

    Raises:
        ConfigError, DataError: where a task or its data is wrong.
    """
    return [
        from_spec({**spec, "name": name, "labels": _labels(recipe, name, data_root)})
        for name, spec in recipe.tasks.items()
    ]


def _labels(recipe: Recipe, name: str, data_root: Path) -> Sequence[str]:
    labels = recipe.tasks[name].get("labels", ())
    if labels != FROM_DATA:
        return labels  # type: ignore[return-value]
    kind = TASK_TYPES.get(str(recipe.tasks[name].get("type")))
    found: dict[str, None] = {}
    for spec in recipe.sources.values():
        if kind is not None and name in spec.tasks:
            rows = tables.read(data_root / spec.train, columns=spec.columns).rows
            found |= dict.fromkeys(spec.map.get(label, label) for label in kind.labels_in(rows))
    return sorted(found)


def load_sources(recipe: Recipe, tasks: Sequence[Task], data_root: Path, split: str) -> list[Source]:
    """The `train`, `validation` or `test` part of every source that has one.

    Training rows whose text also stands in a validation or test file of the recipe are left out.

    Raises:
        DataError: for a file or rows that cannot be used.
    """
    held: set[str] = set()
    if split == "train":
        held_out = load_sources(recipe, tasks, data_root, "validation") + load_sources(recipe, tasks, data_root, "test")
        held = {text_key(row) for source in held_out for row in source.examples}
    sources = []
    for name, spec in recipe.sources.items():
        path = getattr(spec, split)
        if path is None:
            continue
        table = tables.read(data_root / path, columns=spec.columns)
        chosen = [task for task in tasks if task.name in spec.tasks]
        rows = [row for row in tables.examples(table, chosen, rename=spec.map) if text_key(row) not in held]
        sources.append(Source(name, rows[: spec.limit] if split == "train" else rows, spec.weight, spec.among))
    return sources


def provenance(recipe: Recipe) -> Mapping[str, object]:
    """What a checkpoint should say of its making: encoder, data with licences, training settings."""
    kept = {
        name: {
            "tasks": list(s.tasks),
            "licence": s.licence,
            "source": s.source,
            "weight": s.weight,
            "limit": s.limit,
            "among": list(s.among),
        }
        for name, s in recipe.sources.items()
    }
    return {
        "encoder": Path(recipe.encoder).name if Path(recipe.encoder).is_dir() else recipe.encoder,
        "licence": recipe.licence,
        "language": recipe.language,
        "sources": kept,
        "teachers": recipe.teachers,
        "training": TypeAdapter(TrainConfig).dump_python(recipe.training, mode="json"),
    }
