"""What lies where on a map, and whether to believe it: clusters, neighbours, regions, drift between two models.

Neighbours are those by the sentence vectors, never those of the picture; clusters are those of the picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtl.errors import SessionError
from mtl.inference import clusters, projection
from mtl.service.corpora import Corpus
from mtl.service.maps import MapPoints, MapView
from mtl.service.similarity import Hit
from mtl.tasks import Task
from mtl.types import Analysis, LabelScores

EQUAL = 1e-4
"""Cosines that differ by less are equal: which of equal texts is nearer is chance."""
MOST_VALUES = 50
"""A column with more values than this is not counted in a report."""
TYPICAL = 3
"""Texts that a report shows."""
BLOCK = 1024
"""Texts whose neighbours are looked at together."""
CLUSTER, KEPT = "cluster", "neighbours kept"


@dataclass(frozen=True)
class Count:
    """How often something is there: in a region, and its share there and everywhere."""

    name: str
    count: int
    share: float
    everywhere: float


@dataclass(frozen=True)
class Region:
    """What lies in a part of a map.

    labels       of each classification task, most frequent first
    entities     most frequent first
    spread       mean cosine of the texts to their centre; `spread_of_all` that of the whole map
    typical      texts nearest to their centre
    words        that set the region apart
    accuracy     share of predictions that are the gold label, for tasks whose gold labels a column holds
    """

    size: int
    labels: Mapping[str, tuple[Count, ...]]
    entities: tuple[Count, ...]
    spread: float
    spread_of_all: float
    typical: tuple[str, ...]
    words: tuple[str, ...]
    accuracy: Mapping[str, float]


def clustered(view: MapView) -> MapView:
    """The maps with a column of clusters, as they lie on the first, named by their words."""
    found = clusters.clusters(view.points.points)
    names = clusters.named(found, view.points.corpus.texts)
    other = view.other.with_column(CLUSTER, names) if view.other else None
    return MapView(view.points.with_column(CLUSTER, names), other)


def side_by_side(before: MapPoints, after: MapPoints) -> tuple[MapView, float]:
    """Two maps of the same texts, with what each text keeps of its neighbours as a column; and its mean.

    Raises:
        SessionError: where they are not of the same texts.
    """
    kept = drift(before, after)
    values = [f"{share:.2f}" for share in kept]
    return MapView(before.with_column(KEPT, values), after.with_column(KEPT, values)), float(kept.mean())


def neighbours(points: MapPoints, place: int, *, n: int = 10) -> tuple[Hit, ...]:
    """The texts nearest to one of the map by cosine, itself left out.

    Raises:
        SessionError: where the map has no such point.
    """
    if not 0 <= place < len(points.analyses):
        raise SessionError("That point is of an older map; click on one of this map.")
    scores = points.vectors @ points.vectors[place]
    scores[place] = -np.inf
    best = np.argsort(-scores, kind="stable")[: min(n, len(scores) - 1)]
    return tuple(Hit(int(i), points.corpus.texts[i], float(scores[i])) for i in best)


def region(points: MapPoints, places: Sequence[int], column: str | None = None) -> Region:
    """What lies at these places of a map; `column` is one more whose values are counted.

    Raises:
        SessionError: where there is nothing, or the places are of another map.
    """
    if not places or max(places) >= len(points.analyses):
        raise SessionError("Nothing of this map is marked; draw around some points first.")
    inside = sorted(set(places))
    outside = sorted(set(range(len(points.analyses))) - set(inside))
    texts = points.corpus.texts
    groups = [[texts[i] for i in group] for group in (inside, outside)]
    labels, accuracy = {}, {}
    for task in points.tasks:
        if task.kind != "classification":
            continue
        said = [_label(analysis, task.name) for analysis in points.analyses]
        labels[task.name] = _counts([said[i] for i in inside], said)
        gold = _gold(points.corpus, task)
        judged = [i for i in inside if gold is not None and gold[i]]
        if gold is not None and judged:
            accuracy[task.name] = sum(said[i] == gold[i] for i in judged) / len(judged)
    values = points.corpus.columns.get(column or "", ())
    if column and 2 <= len(set(values)) <= MOST_VALUES and not column.startswith("predicted "):
        labels[column] = _counts([values[i] for i in inside], values)
    centre = points.vectors[inside].mean(0)
    nearest = np.argsort(-(points.vectors[inside] @ centre), kind="stable")[:TYPICAL]
    entities = [[f"{label}: {text}" for label, text in _entities(points, i)] for i in range(len(texts))]
    return Region(
        size=len(inside),
        labels=labels,
        entities=_counts([e for i in inside for e in entities[i]], [e for own in entities for e in own])[:8],
        spread=_spread(points.vectors[inside]),
        spread_of_all=_spread(points.vectors),
        typical=tuple(texts[inside[place]] for place in nearest.tolist()),
        words=clusters.typical_words(groups, n_words=8)[0],
        accuracy=accuracy,
    )


def drift(before: MapPoints, after: MapPoints, *, k: int = 15) -> NDArray[np.float32]:
    """(n,): what share of its k nearest texts by one model each text has kept with another, 0 to 1.

    Raises:
        SessionError: where the maps are not of the same texts.
    """
    if before.corpus.texts != after.corpus.texts:
        raise SessionError("The two maps are not of the same sentences; draw them again.")
    k = min(k, len(before.analyses) - 1)
    if k < 1:
        return np.ones(len(before.analyses), dtype=np.float32)
    near, then = (projection.neighbours(own.vectors, k=k + 1) for own in (before, after))
    least = 1 - then.distances[:, -1] - EQUAL
    kept = np.empty(len(before.analyses), dtype=np.float32)
    for start in range(0, len(kept), BLOCK):
        block = slice(start, start + BLOCK)
        indices = near.indices[block]
        scores = np.einsum("nh,nkh->nk", after.vectors[block], after.vectors[indices])
        others = indices != np.arange(start, start + len(indices))[:, None]
        kept[block] = ((scores >= least[block, None]) & others).sum(1) / others.sum(1)
    return kept


def rows(points: MapPoints, *, vectors: bool) -> list[dict[str, object]]:
    """A map as a table: text, coordinates, columns and, where asked for, the sentence vector."""
    axes = ("x", "y", "z")[: points.points.shape[1]]
    found: list[dict[str, object]] = []
    for place, text in enumerate(points.corpus.texts):
        own = {axis: round(float(value), 5) for axis, value in zip(axes, points.points[place], strict=True)}
        columns = {name: _number(name, values[place]) for name, values in points.corpus.columns.items()}
        row: dict[str, object] = {
            points.corpus.text_name: text,
            **own,
            **{n: v for n, v in columns.items() if n not in ("text", *axes)},
        }
        found.append({**row, "vector": points.vectors[place].tolist()} if vectors else row)
    return found


def _number(name: str, value: str) -> str | float:
    """Columns of numbers that a map adds are numbers in a file."""
    return float(value) if name.startswith("confidence ") or name == KEPT else value


def _label(analysis: Analysis, task: str) -> str:
    found = analysis[task]
    return found.label if isinstance(found, LabelScores) else ""


def _gold(corpus: Corpus, task: Task) -> tuple[str, ...] | None:
    """The column that holds this task's gold labels: one of its name, or called label, with no other values."""
    for name in (task.name, "label", "gold"):
        values = corpus.columns.get(name)
        if values is not None and any(values) and {value for value in values if value} <= set(task.labels):
            return values
    return None


def _entities(points: MapPoints, place: int) -> Iterator[tuple[str, str]]:
    text = points.corpus.texts[place]
    for value in points.analyses[place].predictions.values():
        if isinstance(value, tuple):
            yield from ((span.label, text[span.start : span.end]) for span in value)


def _counts(here: Sequence[str], everywhere: Sequence[str]) -> tuple[Count, ...]:
    total = Counter(everywhere)
    return tuple(
        Count(name, count, count / len(here), total[name] / len(everywhere))
        for name, count in Counter(here).most_common()
    )


def _spread(vectors: NDArray[np.float32]) -> float:
    centre = vectors.mean(0)
    return float((vectors @ centre).mean() / max(float(np.linalg.norm(centre)), 1e-9))
