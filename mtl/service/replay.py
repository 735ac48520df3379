"""Old tasks kept alive without their data: a model's own answers on plain sentences, learned beside new rows.

"Pseudo-rehearsal" (Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal"). The sentences are those of
the samples that the guard does not test with.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

from mtl.data import tables
from mtl.data.batches import Source
from mtl.data.splits import text_key
from mtl.inference.predictor import Predictor
from mtl.tasks import Task
from mtl.tasks.base import text_of
from mtl.types import Example, LabelScores, Span, Target

SENTENCES = "sentences.csv"
GUARD = "guard.jsonl"
REPLAY_FILE = "replay.jsonl"


def source_name(task: str) -> str:
    """What the replayed sentences of a task are called as a source."""
    return f"replay {task}"


class Replay:
    """The sentences to replay in a folder of samples, and what each model says of them, asked once."""

    def __init__(self, samples: Path) -> None:
        self.samples = samples
        self._answers: WeakKeyDictionary[Predictor, tuple[Example, ...]] = WeakKeyDictionary()
        self._asking = threading.Lock()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Sentences that the guard does not test with."""
        tested = set(guard_texts(self.samples))
        found = [text_of(row.get("text")) for row in tables.read(self.samples / SENTENCES).rows]
        return tuple(text for text in found if text not in tested)

    def rows(self, model: Predictor) -> tuple[Example, ...]:
        """The sentences with the model's own answer of every single-text task."""
        with self._asking:
            if model not in self._answers:
                analyses = model.analyze(self.texts)
                self._answers[model] = tuple(
                    Example((text,), {name: _target(value) for name, value in found.predictions.items()})
                    for text, found in zip(self.texts, analyses, strict=True)
                )
            return self._answers[model]

    def sources(
        self, model: Predictor, tasks: Sequence[Task], *, weight: float, without: Collection[str] = ()
    ) -> tuple[Source, ...]:
        """One source a task, of all together `weight`; `without` are keys of texts that must not be learned from."""
        rows = [row for row in self.rows(model) if text_key(row) not in without] if tasks else []
        return tuple(
            Source(
                source_name(task.name),
                [Example(row.texts, {task.name: row.targets[task.name]}) for row in rows],
                weight / len(tasks),
            )
            for task in tasks
        )


def as_table(sources: Sequence[Source]) -> str:
    """What is replayed as JSON lines: a sentence with its answers, one column a task; "" for nothing."""
    rows: dict[str, dict[str, object]] = {}
    for source in sources:
        for row in source.examples:
            mine = rows.setdefault(row.texts[0], {"text": row.texts[0]})
            mine.update({name: _plain(target) for name, target in row.targets.items()})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values())


def guard_texts(samples: Path) -> tuple[str, ...]:
    """The sentences that the guard tests with; none where the folder has no such file."""
    if not (samples / GUARD).is_file():
        return ()
    return tuple(text_of(row.get("text")) for row in tables.read(samples / GUARD).rows)


def guard_rows(samples: Path, model: Predictor) -> tuple[Example, ...]:
    """The sentences whose topic, sentiment and entities are known, with what the model's own tasks can be tested on.

    A column is of the task of its name, `spans` of the task that marks entities; of a task that lacks one of their
    labels nothing is tested, nor anything where the folder has no such file.
    """
    if not (samples / GUARD).is_file():
        return ()
    table = tables.read(samples / GUARD)
    found: list[dict[str, Target]] = [{} for _ in table.rows]
    for task in model.tasks:
        name = {"classification": task.name, "ner": "spans"}.get(task.kind, "")
        if task.n_texts != 1 or name not in table.columns:
            continue
        targets = [_gold(task, row.get(name)) for row in table.rows]
        if _labels(targets) <= set(task.labels):
            for mine, target in zip(found, targets, strict=True):
                mine.update({} if target is None else {task.name: target})
    return tuple(Example((text_of(row.get("text")),), mine) for row, mine in zip(table.rows, found, strict=True))


def _gold(task: Task, value: object) -> Target | None:
    if value is None:
        return None
    if task.kind == "classification":
        return text_of(value)
    spans = value if isinstance(value, list) else []
    return tuple(Span(one["start"], one["end"], one["label"]) for one in spans)


def _labels(targets: Sequence[Target | None]) -> set[str]:
    spans = {span.label for target in targets if isinstance(target, tuple) for span in target}
    return spans | {target for target in targets if isinstance(target, str)}


def _target(value: object) -> Target:
    if isinstance(value, LabelScores):
        return value.label
    return tuple(Span(span.start, span.end, span.label) for span in value)  # type: ignore[attr-defined]


def _plain(target: Target) -> object:
    if isinstance(target, tuple):
        return [{"start": span.start, "end": span.end, "label": span.label} for span in target]
    return target
