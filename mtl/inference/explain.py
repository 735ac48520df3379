"""Why a model says what it says: each token's part in a sentence vector, of two texts which words carry their
cosine, and which words of a text a label rests on. Knows no picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mtl.inference.predictor import Predictor
from mtl.model.pooling import PoolingMode
from mtl.types import Analysis, LabelScores

Floats = NDArray[np.float32]

MOST_WORDS = 120
"""Words of a text that are left out one by one; those after them are not looked at."""


@dataclass(frozen=True)
class TokenReading:
    """A text, token by token, as far as it is read, and what one pass says of it.

    offsets   (n, 2) characters of each token; start == end for marks of beginning and end
    words     (n,) which word of the text a token is of, -1 for such marks
    states    (n, H) of the last layer
    pooling   how they become the sentence vector
    """

    text: str
    offsets: NDArray[np.int64]
    words: NDArray[np.int64]
    states: Floats
    pooling: PoolingMode
    analysis: Analysis

    @cached_property
    def summands(self) -> Floats:
        """(n, H): what each token adds to the sentence vector before it is brought to unit length."""
        if self.pooling == "mean":
            mean: Floats = self.states / np.float32(len(self.states))
            return mean
        if self.pooling == "cls":
            first = np.zeros_like(self.states)
            first[0] = self.states[0]
            return first
        largest = self.states == self.states.max(0)
        shared: Floats = (self.states * largest / largest.sum(0)).astype(np.float32)
        return shared

    @cached_property
    def parts(self) -> Floats:
        """(n,): the share of each token in the sentence vector, along its direction; together 1, some below 0."""
        whole = self.summands.sum(0)
        shares: Floats = self.summands @ whole / np.float32(max(float(whole @ whole), 1e-12))
        return shares

    @cached_property
    def word_offsets(self) -> NDArray[np.int64]:
        """(m, 2): the characters of each word that was read."""
        ends = [self.offsets[self.words == word] for word in range(self.n_words)]
        return np.array([[own[0, 0], own[-1, 1]] for own in ends], dtype=np.int64).reshape(-1, 2)

    @property
    def n_words(self) -> int:
        return int(self.words.max(initial=-1)) + 1

    def tokens(self) -> list[str]:
        """The characters of each token; "" for marks of beginning and end."""
        return [self.text[start:end] for start, end in self.offsets.tolist()]

    def by_word(self, values: Floats) -> Floats:
        """(n, ...) -> (m, ...): the sum over the tokens of each word."""
        sums = np.zeros((self.n_words, *values.shape[1:]), dtype=np.float32)
        np.add.at(sums, self.words[self.words >= 0], values[self.words >= 0])
        return sums


@dataclass(frozen=True)
class Alignment:
    """Which words of two texts carry their cosine.

    left, right  the words of each text
    cosines      (a, b) of the states of words, in their context
    shares       (a, b) what each pair of words adds to the cosine of the texts
    score        that cosine; what `shares` lack of it belongs to the marks of beginning and end
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    cosines: Floats
    shares: Floats
    score: float


@dataclass(frozen=True)
class WordReason:
    """A word, `start` to `end` in characters, and how much less likely the label is without it."""

    start: int
    end: int
    gain: float


@dataclass(frozen=True)
class Reasons:
    """What a label of a task rests on; `words` in the order of the text."""

    task: str
    label: str
    score: float
    words: tuple[WordReason, ...]


def read_tokens(predictor: Predictor, texts: Sequence[str]) -> list[TokenReading]:
    """Each text token by token, from one pass; what does not fit into one reading of the model is left out."""
    found = predictor.token_states(texts)
    pooling = predictor.model.pooling.mode
    return [
        TokenReading(
            text=text,
            offsets=one.offsets,
            words=_numbered(one.words),
            states=one.states,
            pooling=pooling,
            analysis=one.analysis,
        )
        for text, one in zip(texts, found, strict=True)
    ]


def align(left: TokenReading, right: TokenReading) -> Alignment:
    """The words of two texts, compared in their contexts.

    With mean pooling the cosine of two texts is exactly a sum over pairs of tokens; `shares` are its terms.
    """
    sums = [one.by_word(one.states) for one in (left, right)]
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9) for rows in sums]
    lengths = [max(float(np.linalg.norm(one.summands.sum(0))), 1e-9) for one in (left, right)]
    shares = left.by_word(left.summands) @ right.by_word(right.summands).T / np.float32(lengths[0] * lengths[1])
    score = float(left.summands.sum(0) @ right.summands.sum(0)) / (lengths[0] * lengths[1])
    names = [tuple(one.text[start:end] for start, end in one.word_offsets.tolist()) for one in (left, right)]
    return Alignment(names[0], names[1], unit[0] @ unit[1].T, shares, score)


def reasons(predictor: Predictor, text: str, task: str, label: str | None = None) -> Reasons:
    """How much each word of a text speaks for a label (the chosen one where none is named), by leaving it out.

    Occlusion (Zeiler & Fergus, 2014); all texts with a word left out are read in one pass.

    Raises:
        ConfigError: where the model has no such task.
        ValueError: where the task gives no labels.
    """
    places = [match.span() for match in re.finditer(r"\w[\w'’-]*", text)][:MOST_WORDS]
    shortened = [f"{text[:start]}{text[end:]}" for start, end in places]
    whole, *others = (_scores(one, task) for one in predictor.analyze([text, *shortened], [task]))
    label = label or whole.label
    score = whole.scores[label]
    words = tuple(
        WordReason(start, end, score - other.scores[label]) for (start, end), other in zip(places, others, strict=True)
    )
    return Reasons(task, label, score, words)


def _scores(analysis: Analysis, task: str) -> LabelScores:
    found = analysis[task]
    if not isinstance(found, LabelScores):
        raise ValueError(f"task {task!r} gives no labels")
    return found


def _numbered(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Words counted from 0 without gaps: a word that no token stands for is none."""
    numbers = np.full_like(words, -1)
    _, numbers[words >= 0] = np.unique(words[words >= 0], return_inverse=True)
    return numbers
