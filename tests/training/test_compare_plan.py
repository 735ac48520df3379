"""Which runs a comparison has, and which rows they share."""

from __future__ import annotations

import pytest

from mtl.data.batches import Source
from mtl.tasks import Similarity
from mtl.training.compare import Run, capped, runs
from mtl.types import Example


def source(name: str, rows: int, task: str = "topic") -> Source:
    return Source(name, [Example((f"{name} {i}",), {task: "x"}) for i in range(rows)], weight=2.0)


def test_runs_are_ordered_seed_by_seed_each_with_a_file_of_its_own() -> None:
    arms = [
        ("multi-task", None),
        ("single-task", "a"),
        ("single-task", "b"),
        ("frozen probe", None),
        ("without retention", None),
    ]
    found = runs([Similarity(name="a"), Similarity(name="b")], (4, 2))
    assert found == [Run(arm, task, seed) for seed in (4, 2) for arm, task in arms]
    assert [run.file for run in found[1:5]] == [
        "single-task-a-4.json", "single-task-b-4.json", "frozen-probe-4.json", "without-retention-4.json",
    ]  # fmt: skip
    assert len({run.file for run in found}) == 10


@pytest.mark.parametrize(
    ("cap", "sizes"),
    [
        (None, (10, 2, 11, 5)),
        (99, (10, 2, 11, 5)),
        (13, (5, 2, 6, 5)),
        (12, (5, 2, 5, 5)),
        (5, (2, 1, 2, 5)),
        (4, (1, 1, 2, 4)),
    ],
)
def test_small_sets_stay_whole_and_larger_ones_share_what_is_left(cap: int | None, sizes: tuple[int, ...]) -> None:
    sources = [source("b", 10), source("a", 2), source("c", 11), source("other", 5, "mood")]
    found = capped(sources, cap)
    assert [(s.name, s.weight) for s in found] == [(s.name, s.weight) for s in sources]
    assert tuple(len(s.examples) for s in found) == sizes
    for mine, whole in zip(found, sources, strict=True):
        places = [whole.examples.index(row) for row in mine.examples]
        assert places == sorted(set(places)), "rows keep their order and none stands twice"
    assert capped(sources, cap) == found


def test_the_rows_of_a_cap_are_drawn_from_the_whole_set() -> None:
    ((drawn,), (other,)) = (capped([source("a", 200)], 20, seed=seed) for seed in (0, 1))
    places = [int(row.texts[0].split()[1]) for row in drawn.examples]
    assert min(places) < 40
    assert max(places) > 160
    assert drawn.examples != other.examples


def test_a_task_stays_under_the_cap_where_sets_feed_several() -> None:
    both = Source("both", [Example((f"both {i}",), {"topic": "x", "mood": "y"}) for i in range(10)])
    found = capped([both, source("a", 10)], 4)
    assert sum(len(s.examples) for s in found) == 4
