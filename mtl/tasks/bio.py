"""BIO tags and spans: reading every scheme of the field, projecting spans on words, decoding only valid BIO.

Knows sequences of tags; knows no tensor and no model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl.types import Span

_TAG = re.compile(r"^(?:O|[BIESLU]-\S.*)$")
OUTSIDE = 0


def is_tag(tag: str) -> bool:
    """Whether `tag` belongs to IOB1, IOB2, BIOES or BILOU."""
    return _TAG.match(tag) is not None


def bio_tags(labels: Sequence[str]) -> tuple[str, ...]:
    """O, then B-X and I-X for each label: index 2k + 1 begins label k, 2k + 2 continues it."""
    return ("O", *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


@dataclass(frozen=True)
class TaggedRun:
    """Tokens `first` to `end` (exclusive) that form one entity."""

    first: int
    end: int
    label: str


def tagged_runs(tags: Sequence[str]) -> list[TaggedRun]:
    """The entities in a sequence of IOB1, IOB2, BIOES or BILOU tags.

    One reading serves all: B, S and U begin; I, E and L continue the same label and otherwise begin.
    """
    runs: list[TaggedRun] = []
    open_at: int | None = None
    label = ""
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        continues = open_at is not None and prefix in "IEL" and name == label
        if open_at is not None and not continues:
            runs.append(TaggedRun(open_at, place, label))
            open_at = None
        if prefix != "O" and not continues:
            open_at, label = place, name
        if prefix in ("E", "L", "S", "U") and open_at is not None:
            runs.append(TaggedRun(open_at, place + 1, label))
            open_at = None
    return runs


def starts_of_tokens(tokens: Sequence[str]) -> list[int]:
    """Where each token begins when all are joined by single spaces."""
    return [
        int(end) - len(token) for end, token in zip(np.cumsum([len(t) + 1 for t in tokens]) - 1, tokens, strict=True)
    ]


def located(tokens: Sequence[str], text: str) -> list[int] | None:
    """Where each token begins in `text`, one after the other; None where one cannot be found."""
    starts, place = [], 0
    for token in tokens:
        start = text.find(token, place)
        if start < 0:
            return None
        starts.append(start)
        place = start + len(token)
    return starts


def spans_of_tokens(
    tokens: Sequence[str], tags: Sequence[str], starts: Sequence[int] | None = None
) -> tuple[Span, ...]:
    """Tags on tokens -> spans on the text in which token i begins at `starts[i]` (else: joined by spaces)."""
    starts = starts_of_tokens(tokens) if starts is None else starts
    return tuple(
        Span(starts[run.first], starts[run.end - 1] + len(tokens[run.end - 1]), run.label) for run in tagged_runs(tags)
    )


def project(
    spans: Sequence[Span], starts: NDArray[np.int64], ends: NDArray[np.int64], labels: Sequence[str]
) -> list[int]:
    """Spans -> a tag index for each word; a word belongs to the span that it overlaps."""
    tags = [OUTSIDE] * len(starts)
    for span in spans:
        inside = np.flatnonzero((starts < span.end) & (ends > span.start))
        for place, word in enumerate(inside):
            tags[word] = 2 * labels.index(span.label) + (1 if place == 0 else 2)
    return tags


def viterbi(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The best valid BIO sequences: (B, W, L) log probabilities -> (B, W) tag indices.

    I-X may only follow B-X or I-X (Viterbi 1967; transitions are 0 where allowed, else minus infinity).
    """
    n_texts, n_words, n_tags = scores.shape
    inside = np.arange(2, n_tags, 2)
    best = scores[:, 0].copy()
    best[:, inside] = -np.inf
    came_from = np.zeros((n_texts, n_words, n_tags), dtype=np.int32)
    for word in range(1, n_words):
        came_from[:, word] = best.argmax(1)[:, None]  # O and B-X may follow anything
        paths = np.repeat(best.max(1)[:, None], n_tags, axis=1)
        from_begin = best[:, inside - 1] >= best[:, inside]
        came_from[:, word, inside] = np.where(from_begin, inside - 1, inside)
        paths[:, inside] = np.maximum(best[:, inside - 1], best[:, inside])
        best = paths + scores[:, word]
    chosen = np.zeros((n_texts, n_words), dtype=np.int64)
    chosen[:, -1] = best.argmax(1)
    for word in range(n_words - 1, 0, -1):
        chosen[:, word - 1] = np.take_along_axis(came_from[:, word], chosen[:, word][:, None], 1)[:, 0]
    return chosen
