"""Scores as pure functions of predictions and gold. Knows no model; checked against the field's libraries.

Every function raises ValueError where the two lists differ in length or are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtl.types import Span


@dataclass(frozen=True)
class SpanScores:
    """Micro-averaged precision, recall and F1 of spans."""

    precision: float
    recall: float
    f1: float


def accuracy(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Share of equal pairs."""
    left, right = _pair(predicted, gold)
    return float(np.mean(left == right))


def macro_f1(predicted: ArrayLike, gold: ArrayLike, *, labels: ArrayLike | None = None) -> float:
    """Unweighted mean of the F1 of `labels`, unless said of every label that occurs in either list.

    A label of `labels` that occurs in neither counts as 0; one that `labels` lacks does not count.
    """
    left, right = _pair(predicted, gold)
    counted = np.unique(np.concatenate([left, right]) if labels is None else np.asarray(labels))
    hits, named = np.zeros(len(counted)), np.zeros(len(counted))
    for place, name in enumerate(counted):
        hits[place] = np.sum((left == name) & (right == name))
        named[place] = np.sum(left == name) + np.sum(right == name)
    return float(np.mean(2 * hits / np.maximum(named, 1)))


def pearson(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Linear correlation; 0 where one side is constant."""
    left, right = (side.astype(np.float64) for side in _pair(predicted, gold))
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right / scale) if scale > 0 else 0.0


def spearman(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Rank correlation, ties given their mean rank; 0 where one side is constant."""
    left, right = _pair(predicted, gold)
    return pearson(_mean_ranks(left), _mean_ranks(right))


def span_counts(predicted: Sequence[Sequence[Span]], gold: Sequence[Sequence[Span]]) -> NDArray[np.float64]:
    """(n, 3): for each text the spans found, wanted, and found right (start, end and label all equal)."""
    if len(predicted) != len(gold) or not gold:
        raise ValueError(f"need two lists of one length above 0, got {len(predicted)} and {len(gold)}")
    counts = np.zeros((len(gold), 3))
    for row, (mine, theirs) in enumerate(zip(predicted, gold, strict=True)):
        found = {(s.start, s.end, s.label) for s in mine}
        wanted = {(s.start, s.end, s.label) for s in theirs}
        counts[row] = len(found), len(wanted), len(found & wanted)
    return counts


def span_scores(counts: NDArray[np.float64]) -> SpanScores:
    """The micro-averaged scores of texts counted by `span_counts`; 0 where there is nothing to divide by."""
    found, wanted, right = counts.sum(0).tolist()
    precision = right / found if found else 0.0
    recall = right / wanted if wanted else 0.0
    total = precision + recall
    return SpanScores(precision, recall, 2 * precision * recall / total if total else 0.0)


def span_f1(predicted: Sequence[Sequence[Span]], gold: Sequence[Sequence[Span]]) -> SpanScores:
    """Strict scores: a span counts when start, end and label are all equal (CoNLL-2003's measure)."""
    return span_scores(span_counts(predicted, gold))


def _mean_ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = ((last - counts + 1 + last) / 2)[index]
    return ranks


def _pair(predicted: ArrayLike, gold: ArrayLike) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    left, right = np.asarray(predicted), np.asarray(gold)
    if left.shape != right.shape or left.ndim != 1 or not len(left):
        raise ValueError(f"need two lists of one length above 0, got {left.shape} and {right.shape}")
    return left, right
