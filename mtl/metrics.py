"""Scores as pure functions of predictions and gold. Knows no model; checked against the field's libraries.

Every function raises ValueError where the two lists differ in length or are empty.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from mtl.types import Span


@dataclass(frozen=True)
class SpanScores:
    """Micro-averaged precision, recall and F1 of spans."""

    precision: float
    recall: float
    f1: float


def accuracy(predicted: Sequence[Hashable], gold: Sequence[Hashable]) -> float:
    """Share of equal pairs."""
    _check(predicted, gold)
    return float(np.mean([p == g for p, g in zip(predicted, gold, strict=True)]))


def macro_f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Unweighted mean of the F1 of every label that occurs in either list."""
    _check(predicted, gold)
    scores = []
    for label in sorted(set(predicted) | set(gold)):
        hits = sum(p == g == label for p, g in zip(predicted, gold, strict=True))
        named = sum(p == label for p in predicted) + sum(g == label for g in gold)
        scores.append(2 * hits / named)
    return float(np.mean(scores))


def pearson(predicted: Sequence[float], gold: Sequence[float]) -> float:
    """Linear correlation; 0 where one side is constant."""
    _check(predicted, gold)
    left = np.asarray(predicted, dtype=np.float64)
    right = np.asarray(gold, dtype=np.float64)
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right / scale) if scale > 0 else 0.0


def spearman(predicted: Sequence[float], gold: Sequence[float]) -> float:
    """Rank correlation, ties given their mean rank; 0 where one side is constant."""
    _check(predicted, gold)
    return pearson(_mean_ranks(predicted), _mean_ranks(gold))


def span_f1(predicted: Sequence[Sequence[Span]], gold: Sequence[Sequence[Span]]) -> SpanScores:
    """Strict scores: a span counts when start, end and label are all equal (CoNLL-2003's measure)."""
    _check(predicted, gold)
    found = right = wanted = 0
    for mine, theirs in zip(predicted, gold, strict=True):
        left = {(s.start, s.end, s.label) for s in mine}
        true = {(s.start, s.end, s.label) for s in theirs}
        found, wanted, right = found + len(left), wanted + len(true), right + len(left & true)
    precision = right / found if found else 0.0
    recall = right / wanted if wanted else 0.0
    total = precision + recall
    return SpanScores(precision, recall, 2 * precision * recall / total if total else 0.0)


def _mean_ranks(values: Sequence[float]) -> list[float]:
    _, index, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return [float(rank) for rank in ((last - counts + 1 + last) / 2)[index]]


def _check(predicted: Sequence[object], gold: Sequence[object]) -> None:
    if len(predicted) != len(gold) or len(gold) == 0:
        raise ValueError(f"need two lists of one length above 0, got {len(predicted)} and {len(gold)}")
