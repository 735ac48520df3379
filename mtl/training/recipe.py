"""A recipe: one YAML file that names the encoder, the tasks, the data and how to train.

Knows files; the loop does not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from mtl.errors import ConfigError
from mtl.model.checkpoint import read_meta
from mtl.model.pooling import PoolingMode
from mtl.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """One data set: its files (relative to the data root), what it feeds, and where it comes from.

    validation  a file, or the share of the training rows that is put aside, such as 0.2
    columns  what the file calls our columns; map: labels of the data -> labels of the task
    among    the only labels that its gold uses: scoring it restricts the choice to them
    weight   how often it is drawn, relative to its size; limit: only the first so many training rows
    replace_mentions  the probability with which, each time a row is trained on, a mention in it is replaced
             by another of the same type from the training data (`data/mentions.py`)
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    tasks: tuple[str, ...]
    train: str
    validation: str | float | None = None
    test: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    map: dict[str, str] = field(default_factory=dict)
    among: tuple[str, ...] = ()
    weight: float = 1.0
    limit: int | None = None
    replace_mentions: float = 0.0
    licence: str = ""
    source: str = ""

    def problem(self) -> str | None:
        """What is out of its limits, in words."""
        if not 0 <= self.replace_mentions <= 1:
            return f"replace_mentions is {self.replace_mentions}; it must be from 0 to 1"
        if not 0 < self.weight < math.inf:
            return f"weight is {self.weight}; it must be above 0 and finite"
        if isinstance(self.validation, (int, float)) and not 0 < self.validation < 1:
            return f"validation is {self.validation}; say a file, or a share between 0 and 1"
        if self.limit is not None and self.limit < 1:
            return f"limit is {self.limit}; it must be 1 or more, or left out"
        return None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that one `python -m mtl train` needs. `licence` and `language` are for the model card.

    keep_heads  `encoder` is a folder of an mtl checkpoint that the run goes on from: its heads come along, a task of
              the same name and settings keeps its own; pooling and max_tokens are then the checkpoint's
    probes    a file of sentences with the answer that a person expects, relative to the recipe: the model card
              shows those that the model gets wrong (`model_card.read_probes`)
    teachers  models that are trained first, by the same recipe but for the fields that each one sets, such as
              `{training.seed: 1}`; the model itself learns from their mean answers too, `training.imitation`
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    encoder: str
    licence: str = ""
    language: str = ""
    pooling: PoolingMode = "mean"
    max_tokens: int = 256
    keep_heads: bool = False
    tasks: dict[str, dict[str, object]]
    sources: dict[str, SourceSpec]
    probes: str = ""
    teachers: tuple[dict[str, object], ...] = ()
    training: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.max_tokens < 8:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be 8 or more")
        for name, source in self.sources.items():
            if source.problem():
                raise ConfigError(f"source {name!r}: {source.problem()}")
            for task in source.tasks:
                if task not in self.tasks:
                    raise ConfigError(
                        f"source {name!r} feeds task {task!r}, which is not among {', '.join(self.tasks)}"
                    )
            annotated = [task for task in source.tasks if self.tasks[task].get("type") == "ner"]
            if source.replace_mentions and len(annotated) != 1:
                raise ConfigError(
                    f"source {name!r} has replace_mentions and feeds {len(annotated)} tasks of type ner; "
                    "mentions can be replaced where it is one"
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
        recipe = _validated(values)
        teacher_recipes(recipe)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return recipe


def teacher_recipes(recipe: Recipe) -> list[Recipe]:
    """The recipe of each teacher: the same, without teachers, with the fields that it sets.

    Raises:
        ConfigError: for a field that is unknown, out of its limits or not a teacher's to set, and for two
            teachers that are one.
    """
    found: list[Recipe] = []
    for place, fields in enumerate(recipe.teachers, start=1):
        values = TypeAdapter(Recipe).dump_python(recipe, mode="json") | {"teachers": []}
        try:
            for name, value in fields.items():
                _set(values, name, value)
            teacher = _validated(values)
        except ConfigError as error:
            raise ConfigError(f"teacher {place}: {error}") from error
        if teacher.keep_heads != recipe.keep_heads:
            raise ConfigError(f"teacher {place} sets keep_heads; it must begin as the model it teaches does")
        if teacher.max_tokens != recipe.max_tokens:
            raise ConfigError(f"teacher {place} sets max_tokens; it must read the same tokens as the model it teaches")
        if teacher in found:
            raise ConfigError(
                f"teachers {found.index(teacher) + 1} and {place} are the same; set another training.seed"
            )
        found.append(teacher)
    return found


def _validated(values: Mapping[str, object]) -> Recipe:
    try:
        return TypeAdapter(Recipe).validate_python(values)
    except ValidationError as error:
        said = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        raise ConfigError("; ".join(dict.fromkeys(said))) from error


def _override(values: dict[str, object], override: str) -> None:
    name, equals, value = override.partition("=")
    if not equals or not name.rpartition(".")[2]:
        raise ConfigError(f"--set {override!r}: say NAME=VALUE, such as training.epochs=1")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML; put it in quotes") from error
    try:
        _set(values, name, parsed)
    except ConfigError as error:
        raise ConfigError(f"--set {override!r}: {error}") from error


def _set(values: dict[str, object], name: str, value: object) -> None:
    """Sets a field by its dotted name."""
    *parents, last = name.split(".")
    for parent in parents:
        child = values.get(parent)
        if child is None:
            child = values[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"{parent!r} has no fields")
        values = child
    values[last] = value


def fingerprint(recipe: Recipe) -> str:
    """Equal for recipes that train the same model, whatever they say of licences; of an encoder's folder the name."""
    values = TypeAdapter(Recipe).dump_python(recipe, mode="json")
    values["encoder"] = _encoder_name(recipe)
    for words in ("licence", "language", "probes"):
        del values[words]
    for source in values["sources"].values():
        del source["licence"], source["source"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _encoder_name(recipe: Recipe) -> str:
    return Path(recipe.encoder).name if Path(recipe.encoder).is_dir() else recipe.encoder


def provenance(recipe: Recipe) -> Mapping[str, object]:
    """What a checkpoint should say of its making: encoder, data with licences, training settings.

    Where the encoder is an mtl checkpoint its licence and language hold for what is made of it, unless the recipe
    says others, and `began_with` names it.
    """
    base = _checkpoint_origin(recipe)
    kept = {
        name: {
            "tasks": list(s.tasks),
            "licence": s.licence,
            "source": s.source,
            "weight": s.weight,
            "limit": s.limit,
            "among": list(s.among),
            "replace_mentions": s.replace_mentions,
        }
        for name, s in recipe.sources.items()
    }
    return {
        "encoder": _encoder_name(recipe),
        "licence": recipe.licence or base.get("licence", ""),
        "language": recipe.language or base.get("language", ""),
        **({"began_with": _encoder_name(recipe)} if base else {}),
        "sources": kept,
        "teachers": list(recipe.teachers),
        "training": TypeAdapter(TrainConfig).dump_python(recipe.training, mode="json"),
    }


def _checkpoint_origin(recipe: Recipe) -> Mapping[str, object]:
    """The provenance of the checkpoint that a recipe begins with; nothing for any other encoder."""
    if not (Path(recipe.encoder) / "mtl.json").is_file():
        return {}
    found = read_meta(Path(recipe.encoder)).get("provenance")
    return found if isinstance(found, dict) else {}
