"""How alike texts are and why: two of them, lists, a query with a corpus, the pairs of a corpus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mtl.errors import SessionError
from mtl.inference import explain
from mtl.inference.explain import Alignment, TokenReading
from mtl.metrics import spearman
from mtl.service.corpora import Corpora, Corpus
from mtl.service.limits import checked, lines_of
from mtl.service.models import Models
from mtl.settings import Settings

Progress: TypeAlias = Callable[[float], object]
"""Is told which share is done."""

SIDES = ("The first sentence", "The second sentence")
MOST_WORDS = 60
"""Words of a sentence that a figure shows."""
ROUNDING = 1e-4
"""What the cosine of two equal texts, read in different batches, may lack of 1."""
BLOCK = 256
"""Texts that are compared with all others at a time."""


@dataclass(frozen=True)
class Hit:
    """A text of a searched list: its place in the list and its cosine to the query."""

    place: int
    text: str
    score: float


@dataclass(frozen=True)
class Comparison:
    """The cosine of two texts, -1 to 1; `cut` has the places of those that were longer than the model reads."""

    score: float
    cut: tuple[int, ...]


@dataclass(frozen=True)
class Ranking:
    """The best of a searched list, best first; `cut` has the places of the texts that were cut (0 is the query)."""

    hits: tuple[Hit, ...]
    cut: tuple[int, ...]


@dataclass(frozen=True)
class Explained:
    """A comparison and the words that carry it."""

    comparison: Comparison
    words: Alignment


@dataclass(frozen=True)
class Matrix:
    """Cosines (n, m) of every text with every text `across`; `cut` has the places of the texts that were cut."""

    texts: tuple[str, ...]
    scores: NDArray[np.float32]
    cut: tuple[int, ...]
    across: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Two texts of a list, by their places, that are much alike."""

    left: int
    right: int
    score: float


@dataclass(frozen=True)
class Duplicates:
    """Pairs that are much alike, best first; `cut` has the places of the texts that were cut.

    is_all  whether there are no more
    """

    pairs: tuple[Pair, ...]
    cut: tuple[int, ...]
    is_all: bool = True


@dataclass(frozen=True)
class Vectors:
    """Sentence vectors (n, d) of unit length and the places of the texts that were cut."""

    rows: NDArray[np.float32]
    cut: tuple[int, ...]


@dataclass(frozen=True)
class LengthCost:
    """What shorter sentence vectors cost, on the sample sentences and pairs.

    kept      share of the ten nearest sentences that stay so
    spearman  rank correlation with what people said of the sample pairs; `spearman_in_full` that of whole vectors
    megabytes  that a million vectors of float32 take
    """

    n_dims: int
    kept: float
    spearman: float
    spearman_in_full: float
    megabytes: float


@dataclass(frozen=True)
class XRay:
    """Everything of one text from one pass, and the sample sentences that are nearest to it."""

    reading: TokenReading
    nearest: tuple[Hit, ...]


class Similarity:
    """Every verb takes the session key and the model's name first; `n_dims` are the first numbers of a vector."""

    def __init__(self, models: Models, corpora: Corpora, settings: Settings) -> None:
        self.models, self.corpora, self.settings = models, corpora, settings
        self._reading = threading.Lock()

    def compare(self, key: str, model: str, left: str, right: str, *, n_dims: int | None = None) -> Comparison:
        """How alike two texts are."""
        texts = checked([left, right], self.settings, what=SIDES)
        found = self._vectors(key, model, texts, n_dims)
        return Comparison(float(found.rows[0] @ found.rows[1]), found.cut)

    def explained(self, key: str, model: str, left: str, right: str) -> Explained:
        """How alike two texts are, and which words carry that, from one pass; of each text the first `MOST_WORDS`."""
        texts = checked([left, right], self.settings, what=SIDES)
        readings = explain.read_tokens(self.models.get(key, model), texts)
        found = explain.align(*readings)
        vectors = [one.analysis.vector for one in readings]
        cut = tuple(place for place, one in enumerate(readings) if one.analysis.truncated_at is not None)
        first = slice(MOST_WORDS)
        words = replace(
            found,
            left=found.left[first],
            right=found.right[first],
            cosines=found.cosines[first, first],
            shares=found.shares[first, first],
        )
        return Explained(Comparison(float(vectors[0] @ vectors[1]), cut), words)

    def matrix(
        self, key: str, model: str, lines: str, across: str = "", *, limit: int = 40, n_dims: int | None = None
    ) -> Matrix:
        """Every line with every line, of the same list or of another one."""
        texts = lines_of(lines, self.settings)
        others = lines_of(across, self.settings) if across.strip() else []
        for name, own, least in (("list", texts, 1 if others else 2), ("second list", others or texts, 1)):
            if not least <= len(own) <= limit:
                raise SessionError(
                    f"The {name} has {len(own)} sentences; a heat map takes {least} to {limit}, one a line."
                )
        found = self._vectors(key, model, [*texts, *others], n_dims)
        rows, columns = found.rows[: len(texts)], found.rows[len(texts) :] if others else found.rows
        return Matrix(tuple(texts), rows @ columns.T, found.cut, tuple(others))

    def search(
        self,
        key: str,
        model: str,
        query: str,
        corpus: Corpus,
        *,
        top_k: int = 10,
        n_dims: int | None = None,
        on_progress: Progress = lambda _: None,
    ) -> Ranking:
        """The texts that are closest to a query, best first."""
        query = checked([query], self.settings, what=("The query",))[0]
        found = self._vectors(key, model, [query, *corpus.texts], n_dims, on_progress)
        scores = found.rows[1:] @ found.rows[0]
        best = np.argsort(-scores, kind="stable")[:top_k]
        hits = tuple(Hit(int(place), corpus.texts[place], float(scores[place])) for place in best)
        return Ranking(hits, found.cut)

    def duplicates(
        self,
        key: str,
        model: str,
        corpus: Corpus,
        *,
        threshold: float = 0.9,
        limit: int = 200,
        on_progress: Progress = lambda _: None,
    ) -> Duplicates:
        """Pairs of texts whose cosine is `threshold` or more, most alike first; `limit` of them."""
        vectors = self._vectors(key, model, corpus.texts, None, on_progress)
        rows, least = vectors.rows, threshold - ROUNDING
        found: list[Pair] = []
        for start in range(0, len(rows), BLOCK):
            scores = np.triu(rows[start : start + BLOCK] @ rows[start:].T + 2, k=1).ravel() - 2
            best = np.argpartition(-scores, limit)[:limit] if len(scores) > limit else np.arange(len(scores))
            for place in best[scores[best] >= least].tolist():
                left, right = divmod(place, len(rows) - start)
                found.append(Pair(left + start, right + start, float(scores[place])))
            found = sorted(found, key=lambda pair: -pair.score)[:limit]
            least = found[-1].score if len(found) == limit else least
        return Duplicates(tuple(found), vectors.cut, is_all=len(found) < limit)

    def xray(self, key: str, model: str, text: str) -> XRay:
        """One text, token by token, and its nearest sample sentences."""
        texts = checked([text], self.settings, what=("The sentence",))
        (reading,) = explain.read_tokens(self.models.get(key, model), texts)
        rows = self._sample_vectors(key, model)
        scores = rows @ reading.analysis.vector
        best = np.argsort(-scores, kind="stable")[:5]
        sample = self.corpora.sample.texts
        return XRay(reading, tuple(Hit(int(i), sample[i], float(scores[i])) for i in best))

    def cost(self, key: str, model: str, n_dims: int) -> LengthCost:
        """What it costs to keep only the first `n_dims` numbers of a vector."""
        whole = self._sample_vectors(key, model)
        pairs = self.corpora.sample_pairs
        sides = [self._vectors(key, model, texts, None).rows for texts in (pairs.left, pairs.right)]
        near = [_nearest(rows, k=10) for rows in (whole, _first(whole, n_dims))]
        kept = np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(*near, strict=True)])
        said = [
            spearman(np.sum(_first(sides[0], n) * _first(sides[1], n), axis=1).tolist(), pairs.scores)
            for n in (n_dims, whole.shape[1])
        ]
        return LengthCost(n_dims, float(kept), said[0], said[1], n_dims * 4.0)

    def width(self, key: str, model: str) -> int:
        """How many numbers a vector of this model has."""
        return self.models.get(key, model).model.encoder.width

    def _sample_vectors(self, key: str, model: str) -> NDArray[np.float32]:
        predictor = self.models.get(key, model)
        if predictor is not self.models.base:
            return predictor.encode(self.corpora.sample.texts)
        with self._reading:
            return self._base_vectors

    @cached_property
    def _base_vectors(self) -> NDArray[np.float32]:
        return self.models.base.encode(self.corpora.sample.texts)

    def _vectors(
        self,
        key: str,
        model: str,
        texts: Sequence[str],
        n_dims: int | None,
        on_progress: Progress = lambda _: None,
    ) -> Vectors:
        found = self.models.read(key, model, texts, (), on_progress=on_progress)
        cut = tuple(place for place, analysis in enumerate(found) if analysis.truncated_at is not None)
        rows = np.stack([analysis.vector for analysis in found])
        return Vectors(rows if n_dims is None else _first(rows, n_dims), cut)


def _first(rows: NDArray[np.float32], n_dims: int) -> NDArray[np.float32]:
    """(n, H) -> (n, n_dims) of unit length."""
    short = rows[:, :n_dims]
    unit: NDArray[np.float32] = short / np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-9)
    return unit


def _nearest(rows: NDArray[np.float32], *, k: int) -> NDArray[np.int64]:
    """(n, d) -> (n, k): the places of the nearest others."""
    scores = rows @ rows.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, : min(k, len(rows) - 1)]
