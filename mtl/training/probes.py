"""Sentences with the answer that a person expects: what a model gets wrong, shown and not only counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mtl.errors import ConfigError, DataError
from mtl.inference.predictor import Predictor
from mtl.tasks import Task
from mtl.types import LabelScores


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One sentence, one task, and the label or the (words, label) of every entity that a person expects."""

    text: str
    task: str
    expected: str | tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """A probe and what the model says."""

    probe: Probe
    said: str | tuple[tuple[str, str], ...]

    @property
    def right(self) -> bool:
        return self.said == self.probe.expected


def read_probes(path: Path) -> list[Probe]:
    """Reads JSON lines such as {"text": "Oslo wins.", "task": "entities", "expected": [["Oslo", "ORG"]]}.

    Raises:
        DataError: naming the file and the line that cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a file of probes or leave `probes:` out of the recipe")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8; save it as UTF-8") from error
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(TypeAdapter(Probe).validate_python(json.loads(line)))
        except (ValueError, ValidationError) as error:
            raise DataError(
                f"{path}, line {number}: is no probe; it needs text, task and expected, a label or a list of "
                "[words, label]"
            ) from error
    return found


def check_probes(probes: Sequence[Probe], tasks: Sequence[Task]) -> None:
    """Looks whether a model with these tasks could answer every probe as expected.

    Raises:
        ConfigError: for a task that is not there or takes two texts, and for an answer that it cannot give.
    """
    by_name = {task.name: task for task in tasks if task.n_texts == 1}
    for probe in probes:
        task = by_name.get(probe.task)
        if task is None:
            raise ConfigError(f"probe {probe.text!r}: no task of one text is called {probe.task!r}")
        labels = {probe.expected} if isinstance(probe.expected, str) else {label for _, label in probe.expected}
        if isinstance(probe.expected, str) == (task.kind == "ner") or not labels <= set(task.labels):
            raise ConfigError(f"probe {probe.text!r}: {task.name} ({task.kind}) cannot answer {probe.expected!r}")


def ask(predictor: Predictor, probes: Sequence[Probe]) -> list[Answer]:
    """What the model says of each probe, from one pass over all of them.

    Raises:
        ConfigError: for a probe that the model cannot answer.
    """
    check_probes(probes, predictor.tasks)
    answers = []
    for probe, found in zip(probes, predictor.analyze([probe.text for probe in probes]), strict=True):
        said = found[probe.task]
        if isinstance(said, LabelScores):
            answers.append(Answer(probe, said.label))
        elif isinstance(said, tuple):
            answers.append(Answer(probe, tuple((probe.text[s.start : s.end], s.label) for s in said)))
    return answers
