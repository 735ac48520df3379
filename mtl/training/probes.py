"""Sentences with the answer that a person expects: what a model gets wrong, shown and not only counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mtl.errors import DataError
from mtl.inference.predictor import Predictor
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
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(TypeAdapter(Probe).validate_python(json.loads(line)))
        except (ValueError, ValidationError) as error:
            raise DataError(
                f"{path}, line {number}: is no probe; it needs text, task and expected, a label or a list of "
                "[words, label]"
            ) from error
    return found


def ask(predictor: Predictor, probes: Sequence[Probe]) -> list[Answer]:
    """What the model says of each probe, from one pass over all of them.

    Raises:
        ConfigError: for a task that the model does not have.
    """
    for probe in probes:
        predictor.task(probe.task)
    answers = []
    for probe, found in zip(probes, predictor.analyze([probe.text for probe in probes]), strict=True):
        said = found[probe.task]
        if isinstance(said, LabelScores):
            answers.append(Answer(probe, said.label))
        elif isinstance(said, tuple):
            answers.append(Answer(probe, tuple((probe.text[s.start : s.end], s.label) for s in said)))
    return answers
