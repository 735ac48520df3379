"""A corpus on a map: read once, placed by PCA at once and by UMAP after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mtl.errors import SessionError
from mtl.inference import projection
from mtl.inference.predictor import Predictor
from mtl.service.corpora import Corpora, Corpus
from mtl.service.limits import checked
from mtl.service.models import BASE, Models
from mtl.service.shelf import Shelf
from mtl.settings import Settings
from mtl.tasks import Task
from mtl.types import Analysis, LabelScores

Dims = Literal[2, 3]
SHELF_BYTES = 500_000_000
"""Of the maps that are kept for all pages together."""
BYTES_OF_A_POINT = 4_000
"""Its vector, its place and what the tasks say of it."""
MEANT = 20
"""Points that a search by meaning marks, where no text holds the words."""


@dataclass(frozen=True)
class MapPoints:
    """A corpus on a map: what was read of each text by which model, and where it lies (n, 2) or (n, 3).

    trust  how far neighbours on the map are neighbours, 0 to 1; None where that was not measured
    """

    corpus: Corpus
    analyses: tuple[Analysis, ...]
    points: NDArray[np.float32]
    method: str
    model: str = BASE
    trust: float | None = None
    tasks: tuple[Task, ...] = ()

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """(n, H)"""
        return np.stack([analysis.vector for analysis in self.analyses])

    def with_column(self, name: str, values: Sequence[str]) -> MapPoints:
        """The same map with one more column to colour by."""
        return replace(self, corpus=replace(self.corpus, columns={**self.corpus.columns, name: tuple(values)}))


@dataclass(frozen=True)
class MapView:
    """What a page shows: a map, and perhaps the same sentences by a second model."""

    points: MapPoints
    other: MapPoints | None = None

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        corpus = self.points.corpus
        words = sum(map(len, corpus.texts)) + sum(len(cell) for column in corpus.columns.values() for cell in column)
        return words + len(corpus.texts) * BYTES_OF_A_POINT * (2 if self.other else 1)


@dataclass(frozen=True)
class Placed:
    """A text that was put on a map: where (2,) or (3,), and the text of the map that is nearest by cosine."""

    text: str
    point: NDArray[np.float32]
    nearest: str


@dataclass(frozen=True)
class Found:
    """The places of points that a search marks; `by_meaning` where no text holds the words themselves."""

    places: tuple[int, ...]
    by_meaning: bool


class Maps:
    """Every verb on behalf of a person takes the session key and the model's name first."""

    def __init__(self, models: Models, corpora: Corpora, settings: Settings) -> None:
        self.models, self.corpora, self.settings = models, corpora, settings
        self.shelf: Shelf[MapView] = Shelf(SHELF_BYTES)
        self._reading, self._refining = threading.Lock(), threading.Lock()

    def read(
        self, key: str, model: str, corpus: Corpus, *, on_progress: Callable[[float], object] = lambda _: None
    ) -> MapPoints:
        """Encodes a corpus once and places it by PCA; each task's answer becomes a column."""
        predictor = self.models.get(key, model)
        if corpus is self.corpora.sample and predictor is self.models.base:
            return self.samples()
        return _points(predictor, self.models.read(key, model, corpus.texts, on_progress=on_progress), corpus, model)

    def refine(self, points: MapPoints, n_dims: Dims = 2) -> MapPoints:
        """The same corpus placed by UMAP."""
        if points is not self.samples() or n_dims != 2:
            return _umap(points, n_dims)
        with self._refining:
            return self._sample_umap

    def place(self, key: str, model: str, points: MapPoints, text: str) -> Placed:
        """Puts one more text on a map.

        Raises:
            SessionError: where another model drew the map.
        """
        if points.model != model:
            raise SessionError(f"This map was drawn with model {points.model!r}; draw it again first.")
        (found,) = self.models.analyze(key, model, checked([text], self.settings, what=("The sentence",)), ())
        point = projection.transform(found.vector[None], points.vectors, points.points)[0]
        return Placed(text, point, points.corpus.texts[int(np.argmax(points.vectors @ found.vector))])

    def find(self, key: str, points: MapPoints, query: str) -> Found:
        """Points whose text or column holds the words; where none does, those that mean most nearly the same."""
        (query,) = checked([query.strip()], self.settings, what=("The search",))
        words = query.casefold()
        columns = points.corpus.columns.values()
        places = tuple(
            place
            for place, text in enumerate(points.corpus.texts)
            if words in text.casefold() or any(words == values[place].casefold() for values in columns)
        )
        if places:
            return Found(places, by_meaning=False)
        (found,) = self.models.analyze(key, points.model, [query], ())
        order = np.argsort(-(points.vectors @ found.vector), kind="stable")
        return Found(tuple(order[:MEANT].tolist()), by_meaning=True)

    def keep(self, view: MapView, owner: str) -> str:
        """Puts what a page shows on the shelf; the sample map, which all pages share, weighs next to nothing there."""
        ours = (self.__dict__.get("_sample_map"), self.__dict__.get("_sample_umap"))
        shared = view.other is None and any(view.points is one for one in ours)
        return self.shelf.put(view, 1000 if shared else view.weight, owner=owner)

    def samples(self) -> MapPoints:
        """The sample map, made once, also when several ask at the same time."""
        with self._reading:
            return self._sample_map

    @cached_property
    def _sample_map(self) -> MapPoints:
        corpus = self.corpora.sample
        return _points(self.models.base, self.models.base.analyze(corpus.texts), corpus, BASE)

    @cached_property
    def _sample_umap(self) -> MapPoints:
        return _umap(self._sample_map, 2)


def _points(predictor: Predictor, found: Sequence[Analysis], corpus: Corpus, model: str) -> MapPoints:
    columns: dict[str, tuple[str, ...]] = {}
    for task in predictor.tasks:
        if task.kind == "classification":
            values = [v for analysis in found if isinstance(v := analysis[task.name], LabelScores)]
            columns[f"predicted {task.name}"] = tuple(v.label for v in values)
            columns[f"confidence {task.name}"] = tuple(f"{v.scores[v.label]:.3f}" for v in values)
    shown = replace(corpus, columns={**columns, **corpus.columns})
    vectors = np.stack([analysis.vector for analysis in found])
    return MapPoints(shown, tuple(found), projection.pca(vectors), "PCA", model, tasks=predictor.tasks)


def _umap(points: MapPoints, n_dims: int) -> MapPoints:
    method = "UMAP" if projection.suits_umap(points.vectors) else "PCA"
    placed = projection.umap(points.vectors, n_dims=n_dims)
    trust = projection.trustworthiness(points.vectors, placed)
    return replace(points, points=placed, method=method, trust=trust)
