"""What lies where: neighbours by meaning, regions with their labels, drift between models, exports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mtl.errors import SessionError
from mtl.inference import clusters
from mtl.service import regions
from mtl.service.corpora import Corpus
from mtl.service.maps import MapPoints, MapView
from mtl.tasks import Classification, NamedEntities
from mtl.types import Analysis, LabelScores, Span

TASKS = (Classification(name="topic", labels=("food", "law")), NamedEntities(name="entities", labels=("LOC",)))


def unit(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)


def analysis(angle: float, label: str, spans: tuple[Span, ...] = ()) -> Analysis:
    return Analysis({"topic": LabelScores(label, {label: 0.9}), "entities": spans}, unit(angle), 4, None)


@pytest.fixture
def points() -> MapPoints:
    texts = ("soup in Rome", "salty soup", "a judge in Rome", "the verdict")
    found = (
        analysis(0.0, "food", (Span(8, 12, "LOC"),)),
        analysis(0.1, "food"),
        analysis(1.5, "law", (Span(11, 15, "LOC"),)),
        analysis(1.4, "food"),
    )
    columns = {"topic": ("food", "food", "law", "law")}
    where = np.array([[0, 0], [9, 9], [0.1, 0], [9, 8]], dtype=np.float32)
    return MapPoints(Corpus(texts, columns), found, where, "UMAP", tasks=TASKS)


def test_neighbours_are_those_by_meaning_not_by_place(points: MapPoints) -> None:
    near = regions.neighbours(points, 0, n=2)
    assert [(hit.place, hit.text) for hit in near] == [(1, "salty soup"), (3, "the verdict")]
    assert near[0].score == pytest.approx(np.cos(0.1), abs=1e-5)
    assert len(regions.neighbours(points, 0)) == 3
    with pytest.raises(SessionError, match="of an older map"):
        regions.neighbours(points, 4)


def test_a_region_has_its_labels_entities_words_spread_and_accuracy(points: MapPoints) -> None:
    found = regions.region(points, [2, 3, 3])
    assert found.size == 2
    assert {count.name: (count.count, count.share, count.everywhere) for count in found.labels["topic"]} == {
        "law": (1, 0.5, 0.25),
        "food": (1, 0.5, 0.75),
    }
    assert [(count.name, count.share, count.everywhere) for count in found.entities] == [("LOC: Rome", 1, 1)]
    assert found.spread == pytest.approx(np.cos(0.05), abs=1e-4)
    assert found.spread_of_all < found.spread
    assert set(found.words) >= {"judge", "verdict"}
    assert "soup" not in found.words
    assert found.accuracy == {"topic": 0.5}


def test_gold_labels_count_only_where_the_task_knows_them_all(points: MapPoints) -> None:
    odd = replace(points, corpus=replace(points.corpus, columns={"topic": ("food", "other", "law", "law")}))
    assert regions.region(odd, [0, 1]).accuracy == {}
    named = replace(points, corpus=replace(points.corpus, columns={"label": ("food", "", "law", "law")}))
    assert regions.region(named, [0, 1]).accuracy == {"topic": 1.0}
    assert regions.region(named, [1]).accuracy == {}


@pytest.mark.parametrize("places", [[], [0, 9]])
def test_a_region_of_nothing_or_of_another_map_is_refused(points: MapPoints, places: list[int]) -> None:
    with pytest.raises(SessionError, match="Nothing of this map is marked"):
        regions.region(points, places)


def test_drift_is_the_share_of_neighbours_that_stay(points: MapPoints) -> None:
    assert regions.drift(points, points, k=1).tolist() == [1, 1, 1, 1]
    angles = (0.0, 1.5, 0.1, 1.4)
    moved = [replace(one, vector=unit(angle)) for one, angle in zip(points.analyses, angles, strict=True)]
    after = replace(points, analyses=tuple(moved))
    assert regions.drift(points, after, k=1).tolist() == [0, 0, 0, 0]
    assert regions.drift(points, after, k=3).tolist() == [1, 1, 1, 1]
    view, mean = regions.side_by_side(points, after)
    assert mean == 1
    assert view.other is not None
    assert view.points.corpus.columns[regions.KEPT] == view.other.corpus.columns[regions.KEPT] == ("1.00",) * 4
    assert MapView(points).weight > 4 * 4000
    assert view.weight - MapView(points).weight >= 4 * 4000, "the second model counts too"
    other = replace(points, corpus=replace(points.corpus, texts=("a", "b", "c", "d")))
    with pytest.raises(SessionError, match="not of the same sentences"):
        regions.drift(points, other)


def test_equal_sentences_do_not_count_as_drift(points: MapPoints) -> None:
    """Which of several equal ones is among the nearest is chance, and differs between the two maps."""
    found = []
    for angles in ((0.3, 0.30001, 0.3, 1.4), (0.3, 0.3, 0.30001, 1.4)):
        moved = [replace(one, vector=unit(angle)) for one, angle in zip(points.analyses, angles, strict=True)]
        found.append(replace(points, analyses=tuple(moved)))
    nearest = [[hit.place for hit in regions.neighbours(own, 3, n=1)] for own in found]
    assert nearest == [[1], [2]]
    assert regions.drift(*found, k=1).tolist() == [1, 1, 1, 1]


def test_a_map_as_a_table_has_coordinates_columns_and_vectors(points: MapPoints) -> None:
    rows = regions.rows(points, vectors=True)
    assert rows[1] == {"text": "salty soup", "x": 9.0, "y": 9.0, "topic": "food", "vector": unit(0.1).tolist()}
    assert "vector" not in regions.rows(points, vectors=False)[0]
    deep = replace(points, points=np.zeros((4, 3), np.float32))
    assert regions.rows(deep, vectors=False)[0]["z"] == 0


def test_clusters_are_a_column_and_carry_over_to_a_second_map(points: MapPoints, monkeypatch) -> None:
    monkeypatch.setattr(clusters, "clusters", lambda _: np.array([0, 0, 1, 1]))
    found = regions.clustered(MapView(points, points))
    values = found.points.corpus.columns[regions.CLUSTER]
    assert values[0] == values[1] != values[2] == values[3]
    assert "soup" in values[0]
    assert found.other is not None
    assert found.other.corpus.columns[regions.CLUSTER] == values
    assert regions.clustered(MapView(points)).other is None
