"""What a model answers otherwise than before it was trained further: the cost elsewhere of learning something new.

An answer is compared with the one that the model gave before, which needs no labels. Rows whose answers are known, and
similarity, which people have judged, are scored before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mtl.evaluation.evaluate import score
from mtl.inference.predictor import Predictor
from mtl.metrics import span_counts, span_scores, spearman
from mtl.tasks import Task
from mtl.types import Analysis, Example, LabelScores, Prediction


@dataclass(frozen=True)
class Shift:
    """A figure before and after; `what` says what it counts. Above 0.01 less is a loss that one should see.

    known  whether it is of known answers; else of agreement with the model before, which may have been wrong
    """

    task: str
    what: str
    before: float
    after: float
    known: bool = True

    @property
    def change(self) -> float:
        return self.after - self.before


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

    @property
    def worst(self) -> Shift | None:
        """What fell most, of known answers."""
        return min((shift for shift in self.shifts if shift.known), key=lambda shift: shift.change, default=None)


@dataclass(frozen=True)
class Answers:
    """What a model says of texts, by text, and how well it ranks pairs that people judged."""

    analyses: Mapping[str, Analysis]
    similarity: float


def answers(model: Predictor, texts: Sequence[str], pairs: Sequence[tuple[str, str, float]]) -> Answers:
    """Reads texts with every single-text task, and pairs of two sentences and how alike people found them."""
    distinct = list(dict.fromkeys(texts))
    return Answers(dict(zip(distinct, model.analyze(distinct), strict=True)), _similarity(model, pairs))


def drift(
    before: Predictor,
    after: Predictor,
    texts: Sequence[str],
    pairs: Sequence[tuple[str, str, float]],
    *,
    gold: Sequence[Example] = (),
    known: Answers | None = None,
) -> Drift:
    """Reads the same texts with both models; where no weight of the old tasks changed, once.

    pairs  two sentences and how alike people found them
    gold   rows with the right answers of some old tasks; their texts are among `texts`
    known  what `answers` gave of the model before
    """
    new_names = {task.name for task in after.tasks}
    kept = [task for task in before.tasks if task.n_texts == 1 and task.name in new_names]
    old = known or answers(before, texts, pairs)
    new = old if unchanged(before, after, [task.name for task in kept]) else answers(after, texts, pairs)
    shifts, flips = [], []
    for task in kept:
        said = [(old.analyses[text][task.name], new.analyses[text][task.name]) for text in texts]
        shifts.append(Shift(task.name, *_agreement(said), known=False))
        for text, (a, b) in zip(texts, said, strict=True):
            words = (in_words(text, a), in_words(text, b))
            if words[0] != words[1]:
                flips.append(Flip(text, task.name, *words))
    shifts += [shift for task in kept for shift in _against_gold(task, old, new, gold)]
    shifts.append(Shift("similarity", "rank correlation with the pairs' scores", old.similarity, new.similarity))
    cosines = [float(old.analyses[text].vector @ new.analyses[text].vector) for text in texts]
    return Drift(tuple(shifts), tuple(flips), float(np.mean(cosines)))


def unchanged(before: Predictor, after: Predictor, heads: Sequence[str] = ()) -> bool:
    """Whether the encoder and these heads have the same weights in both."""
    pairs: list[tuple[nn.Module, nn.Module]] = [(before.model.encoder, after.model.encoder)]
    pairs += [(before.model.heads[name], after.model.heads[name]) for name in heads]
    for left, right in pairs:
        mine, theirs = left.state_dict(), right.state_dict()
        if mine.keys() != theirs.keys() or not all(torch.equal(mine[name], theirs[name]) for name in mine):
            return False
    return True


def _against_gold(task: Task, old: Answers, new: Answers, gold: Sequence[Example]) -> Iterator[Shift]:
    rows = [row for row in gold if task.name in row.targets]
    if rows:
        before, after = (
            score(task, [one.analyses[row.texts[0]][task.name] for row in rows], rows).metrics for one in (old, new)
        )
        metric = task.metric or task.primary
        words = f"{metric.replace('_', ' ')}, {len(rows)} known answers"
        yield Shift(task.name, words, before[metric], after[metric])


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


def in_words(text: str, answer: Prediction) -> str:
    """An answer as a person reads it."""
    if isinstance(answer, tuple):
        return ", ".join(f"{text[span.start : span.end]} ({span.label})" for span in answer) or "nothing"
    return _label(answer)
