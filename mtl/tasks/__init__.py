"""Task types. A new one is one file beside this and one line in `TASK_TYPES`."""

from __future__ import annotations

from collections.abc import Mapping

from mtl.errors import ConfigError
from mtl.tasks.base import Row, Task
from mtl.tasks.classification import Classification
from mtl.tasks.ner import NamedEntities
from mtl.tasks.similarity import Similarity

TASK_TYPES: dict[str, type[Task]] = {
    "classification": Classification,
    "ner": NamedEntities,
    "similarity": Similarity,
}


def from_spec(spec: Mapping[str, object]) -> Task:
    """A task from plain settings: `type`, `name`, `labels` and what the type knows.

    Raises:
        ConfigError: for an unknown type or setting, or a value that the type refuses.
    """
    settings = dict(spec)
    kind = settings.pop("type", None)
    if not isinstance(kind, str) or kind not in TASK_TYPES:
        raise ConfigError(f"task {spec.get('name')!r} has type {kind!r}; it must be one of {', '.join(TASK_TYPES)}")
    try:
        return TASK_TYPES[kind](**settings)  # type: ignore[arg-type]
    except TypeError as error:
        raise ConfigError(f"task {spec.get('name')!r} of type {kind!r}: {error}") from error


__all__ = ["TASK_TYPES", "Classification", "NamedEntities", "Row", "Similarity", "Task", "from_spec"]
