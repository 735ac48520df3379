"""What a model answers otherwise than before it was trained further: the cost elsewhere of learning something new.

Needs no labels: an answer is compared with the one that the model gave before. Similarity, which people have judged,
is scored before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtl.inference.predictor import Predictor
from mtl.metrics import span_counts, span_scores, spearman
from mtl.types import LabelScores, Prediction


@dataclass(frozen=True)
class Shift:
    """A figure before and after; `what` says what it counts. Above 0.01 less is a loss that one should see."""

    task: str
    what: str
    before: float
    after: float


@dataclass(frozen=True)
class Flip:
    """A text that a task answers otherwise than before."""

    text: str
    task: str
    before: str
    after: str


@dataclass(frozen=True)
class Drift:
    """What became of the old tasks; `cosine` is the mean of each sentence vector with its old one."""

    shifts: tuple[Shift, ...]
    flips: tuple[Flip, ...]
    cosine: float


def drift(before: Predictor, after: Predictor, texts: Sequence[str], pairs: Sequence[tuple[str, str, float]]) -> Drift:
    """Reads the same texts with both models; `pairs` have two sentences and how alike people found them."""
    kept = [task for task in before.tasks if task.n_texts == 1 and task.name in {t.name for t in after.tasks}]
    names = [task.name for task in kept]
    old, new = (model.analyze(texts, names) for model in (before, after))
    shifts, flips = [], []
    for task in kept:
        answers = [(a[task.name], b[task.name]) for a, b in zip(old, new, strict=True)]
        shifts.append(Shift(task.name, *_agreement(answers)))
        for text, (a, b) in zip(texts, answers, strict=True):
            said = (_in_words(text, a), _in_words(text, b))
            if said[0] != said[1]:
                flips.append(Flip(text, task.name, *said))
    scores = [_similarity(model, pairs) for model in (before, after)]
    shifts.append(Shift("similarity", "rank correlation with people", *scores))
    cosines = [float(a.vector @ b.vector) for a, b in zip(old, new, strict=True)]
    return Drift(tuple(shifts), tuple(flips), float(np.mean(cosines)))


def _agreement(answers: Sequence[tuple[Prediction, Prediction]]) -> tuple[str, float, float]:
    if isinstance(answers[0][0], tuple):
        old, new = ([one if isinstance(one, tuple) else () for one in side] for side in zip(*answers, strict=True))
        counts = span_counts(new, old)
        return "entities as before (F1)", 1.0, span_scores(counts).f1 if counts.any() else 1.0
    same = [_label(old) == _label(new) for old, new in answers]
    return "labels as before", 1.0, float(np.mean(same))


def _similarity(model: Predictor, pairs: Sequence[tuple[str, str, float]]) -> float:
    left, right = model.encode([pair[0] for pair in pairs]), model.encode([pair[1] for pair in pairs])
    return spearman((left * right).sum(1), [score for _, _, score in pairs])


def _label(answer: Prediction) -> str:
    return answer.label if isinstance(answer, LabelScores) else ""


def _in_words(text: str, answer: Prediction) -> str:
    if isinstance(answer, tuple):
        return ", ".join(f"{text[span.start : span.end]} ({span.label})" for span in answer) or "nothing"
    return _label(answer)
