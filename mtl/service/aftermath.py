"""What a run did to a model: the old tasks tested again, rows that were asked for, sentence vectors that moved."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from mtl.evaluation.drift import Answers, Drift, answers, drift, in_words, unchanged
from mtl.inference import projection
from mtl.inference.predictor import Predictor
from mtl.service.corpora import Corpora
from mtl.service.replay import guard_rows, guard_texts
from mtl.service.tuning import TuneData
from mtl.types import Example, Target

MOST_MOVED = 200
"""Rows of a person's that are shown on the map before and after."""
MOST_ASKED = 100
"""Corrections that are read again after a run."""
MOST_CHARACTERS = 400
"""Of a text that is kept to be shown."""


@dataclass(frozen=True)
class Asked:
    """A row that was learned from: what it asks for, and what the model said before and says now."""

    text: str
    task: str
    asked: str
    before: str
    after: str

    @property
    def right(self) -> bool:
        return self.after == self.asked


@dataclass(frozen=True)
class Moved:
    """Sentence vectors (n, H) before and after; `groups` says what each text is: a label of the rows, or "" for one
    of the samples."""

    texts: tuple[str, ...]
    groups: tuple[str, ...]
    before: NDArray[np.float32]
    after: NDArray[np.float32]


@dataclass(frozen=True)
class MovedMap:
    """The same points before and after (n, 2), on one pair of axes."""

    moved: Moved
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    method: str


@dataclass(frozen=True)
class Aftermath:
    """All of it. `asked` is of runs that learned from every row, such as corrections; `moved` is None where no
    sentence moved."""

    drift: Drift
    asked: tuple[Asked, ...]
    moved: Moved | None


class Guard:
    """Tests old tasks on samples that are not replayed; what a model says before a run is asked once."""

    def __init__(self, corpora: Corpora) -> None:
        self.corpora = corpora
        self._answers: WeakKeyDictionary[Predictor, Answers] = WeakKeyDictionary()
        self._asking = threading.Lock()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The sentences with known answers; where there are none, the samples, which are then replayed too."""
        gold = guard_texts(self.corpora.settings.samples)
        return gold or self.corpora.sample.texts

    def known(self, model: Predictor) -> Answers:
        """What a model, whose weights do not change any more, says of the samples."""
        with self._asking:
            if model not in self._answers:
                self._answers[model] = answers(model, self.texts, self._pairs())
            return self._answers[model]

    def aftermath(self, base: Predictor, tuned: Predictor, data: TuneData) -> Aftermath:
        """Reads samples and rows with the model as it was and as it is."""
        gold = guard_rows(self.corpora.settings.samples, base)
        found = drift(base, tuned, self.texts, self._pairs(), gold=gold, known=self.known(base))
        asked = () if data.validation else _asked(base, tuned, data)
        moved = None if unchanged(base, tuned) else _moved(base, tuned, data, self.texts)
        return Aftermath(found, asked, moved)

    def _pairs(self) -> list[tuple[str, str, float]]:
        pairs = self.corpora.sample_pairs
        return list(zip(pairs.left, pairs.right, pairs.scores, strict=True))


def place(moved: Moved) -> MovedMap:
    """One map of both: a sentence that did not move stays where it is."""
    n = len(moved.texts)
    both = np.concatenate([moved.before, moved.after])
    points = projection.umap(both)
    method = "UMAP" if projection.suits_umap(both) else "PCA"
    return MovedMap(moved, points[:n], points[n:], method)


def _asked(base: Predictor, tuned: Predictor, data: TuneData) -> tuple[Asked, ...]:
    rows = data.parts.train[:MOST_ASKED]
    known = {task.name for task in base.tasks}
    now = tuned.analyze([row.texts[0] for row in rows], [task.name for task in data.tasks])
    old = base.analyze([row.texts[0] for row in rows], [task.name for task in data.tasks if task.name in known])
    return tuple(
        Asked(
            row.texts[0][:MOST_CHARACTERS],
            name,
            _target_in_words(row.texts[0], target),
            in_words(row.texts[0], a[name]) if name in known else "",
            in_words(row.texts[0], b[name]),
        )
        for row, a, b in zip(rows, old, now, strict=True)
        for name, target in row.targets.items()
    )


def _target_in_words(text: str, target: Target) -> str:
    return in_words(text, target) if isinstance(target, tuple) else str(target)


def _moved(base: Predictor, tuned: Predictor, data: TuneData, samples: Sequence[str]) -> Moved:
    rows = [*data.parts.validation, *data.parts.train][:MOST_MOVED]
    texts = tuple(dict.fromkeys([*(row.texts[0] for row in rows), *samples]))
    groups = {row.texts[0]: _group(row) for row in rows}
    before, after = (model.encode(texts) for model in (base, tuned))
    shown = tuple(text[:MOST_CHARACTERS] for text in texts)
    return Moved(shown, tuple(groups.get(text, "") for text in texts), before, after)


def _group(row: Example) -> str:
    """The label of a row, or "your rows" where it has none."""
    return next((target for target in row.targets.values() if isinstance(target, str)), "your rows")
