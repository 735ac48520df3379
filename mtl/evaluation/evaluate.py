"""Scores of a model on examples, computed from the same calls that a user makes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl.errors import ConfigError, DataError
from mtl.inference.predictor import Predictor
from mtl.tasks import Task
from mtl.tasks.base import choices
from mtl.tasks.classification import Classification, among
from mtl.types import Example, LabelScores, Prediction


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one task on some examples, and what they were made of, row by row."""

    task: str
    kind: str
    examples: int
    metrics: Mapping[str, float]
    statistics: NDArray[np.float64]


def evaluate(
    predictor: Predictor, task_name: str, rows: Sequence[Example], *, labels: Collection[str] | None = None
) -> Evaluation:
    """Scores one task on the rows that have a target for it; `labels` restricts the head's choice.

    Raises:
        ConfigError: for an unknown task, or `labels` that the task does not have.
        DataError: where no row has a target.
    """
    task = predictor.task(task_name)
    known = [row for row in rows if task_name in row.targets]
    if not known:
        raise DataError(f"no row has a target for task {task_name!r}")
    texts = [[row.texts[side] for row in known] for side in range(task.n_texts)]
    found = (
        predictor.analyze(texts[0], tasks=[task_name])
        if task.n_texts == 1
        else predictor.analyze_pairs(texts[0], texts[1], tasks=[task_name])
    )
    return score(task, [analysis[task_name] for analysis in found], known, labels=labels)


def score(
    task: Task, predictions: Sequence[Prediction], rows: Sequence[Example], *, labels: Collection[str] | None = None
) -> Evaluation:
    """The metrics of what was said of rows that all have a target for the task; `labels` restricts the head's choice.

    Raises:
        ConfigError: where the task does not have these labels.
    """
    if labels is not None:
        _check_choice(task, labels)
        predictions = [among(p, labels) if isinstance(p, LabelScores) else p for p in predictions]
    statistics = task.statistics(predictions, [row.targets[task.name] for row in rows])
    return Evaluation(task.name, task.kind, len(rows), task.summarise(statistics), statistics)


def _check_choice(task: Task, labels: Collection[str]) -> None:
    if not isinstance(task, Classification):
        raise ConfigError(f"task {task.name!r} ({task.kind}) cannot be restricted to labels; classification can")
    if set(labels) - set(task.labels):
        raise ConfigError(
            f"task {task.name!r} cannot be restricted to {choices(sorted(labels))}; it has {choices(task.labels)}"
        )
