"""What a comparison says, from results made by hand: means, differences, words, costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.errors import DataError
from mtl.inference.predictor import Predictor
from mtl.tasks import NamedEntities, Similarity, Task
from mtl.training.compare import RunResult
from mtl.training.verdict import OnePass, Score, SharingReport, in_words, measure_one_pass, read, summarise, write

TASKS = (
    NamedEntities(name="places", labels=("LOC",)),
    NamedEntities(name="people", labels=("PER",)),
    Similarity(name="pairs"),
)
UP, DOWN = [[0.1, 0.2], [0.2, 0.4], [0.3, 0.9]], [[0.3, 0.2], [0.2, 0.4], [0.1, 0.9]]
ONE_PASS = OnePass(texts=8, passes=3, ratio=2.5)
HALF = {"a/places": (2, 4), "b/places": (1, 2), "c/people": (0, 6)}
NONE, FULL = {"a/places": (0, 4), "b/places": (0, 2)}, {"c/people": (6, 6)}


def result(
    arm: str, task: str | None, seed: int, right: dict[str, tuple[int, int]], *, pairs=UP, steps: int = 10
) -> RunResult:
    """A run that finds (so many, of so many) spans right on each test set, one in a row, so that F1 is their share."""
    statistics: dict[str, list[list[float]]] = {
        name: [[1.0, 1.0, 1.0]] * good + [[1.0, 1.0, 0.0]] * (rows - good) for name, (good, rows) in right.items()
    }
    return RunResult(
        arm=arm,
        task=task,
        seed=seed,
        steps=steps,
        tokens=100,
        seconds=steps / 4,
        parameters=1000 + steps,
        metrics={name: {} for name in (*right, "d/pairs")},
        statistics={**statistics, "d/pairs": pairs},
    )


def seed_of(seed: int, shared: dict[str, tuple[int, int]]) -> list[RunResult]:
    """places: specialists have nothing right; people: nothing shared is right; without retention is as shared."""
    return [
        result("multi-task", None, seed, shared, steps=20 + 10 * seed),
        result("single-task", "places", seed, NONE, pairs=DOWN, steps=5),
        result("single-task", "people", seed, FULL, steps=4 + 2 * seed),
        result("single-task", "pairs", seed, {}, steps=3),
        result("frozen probe", None, seed, {**HALF, **FULL}),
        result("without retention", None, seed, shared),
    ]


SHARED = ({**HALF, "a/places": (4, 4)}, {**HALF, "b/places": (2, 2)})
RESULTS = [run for seed, shared in enumerate(SHARED) for run in seed_of(seed, shared)]


def summary(results: list[RunResult], tasks: tuple[Task, ...] = TASKS) -> SharingReport:
    return summarise(results, tasks, encoder="tiny", cap=8, one_pass=ONE_PASS)


@pytest.fixture(scope="module")
def found() -> SharingReport:
    return summary(RESULTS)


def values(scores: tuple[Score, ...], task: str, arm: str) -> dict[str | None, float]:
    return {s.source: s.interval.value for s in scores if (s.task, s.arm) == (task, arm)}


def test_scores_are_means_over_test_sets_and_seeds(found: SharingReport) -> None:
    assert values(found.scores, "places", "multi-task") == {None: (1 + 0.5 + 0.5 + 1) / 4, "a": 0.75, "b": 0.75}
    assert values(found.scores, "places", "single-task") == {None: 0.0, "a": 0.0, "b": 0.0}
    assert values(found.scores, "places", "frozen probe") == {None: 0.5, "a": 0.5, "b": 0.5}
    assert values(found.scores, "people", "single-task") == {None: 1.0}  # its one test set is its mean
    assert values(found.scores, "pairs", "without retention") == {None: pytest.approx(1.0)}
    assert {s.metric for s in found.scores if s.task == "pairs"} == {"spearman"}
    assert {s.metric for s in found.scores if s.task != "pairs"} == {"f1"}
    assert all(s.interval.low <= s.interval.value <= s.interval.high for s in found.scores if s.task != "pairs")
    assert (found.seeds, found.encoder, found.cap, found.one_pass) == ((0, 1), "tiny", 8, ONE_PASS)


def test_differences_are_the_shared_model_minus_each_rival(found: SharingReport) -> None:
    gaps = {(d.task, d.source, d.against): d for d in found.differences}
    assert len(gaps) == len(found.differences) == 3 * (3 + 1 + 1)
    for task, source, against, value, verdict in (
        ("places", None, "single-task", 0.75, "better"),
        ("places", "a", "single-task", 0.75, "same"),  # 1 and 0.5: two seeds that disagree do not tell
        ("places", None, "frozen probe", 0.25, "better"),
        ("places", None, "without retention", 0.0, "same"),
        ("people", None, "single-task", -1.0, "worse"),
        ("people", None, "frozen probe", -1.0, "worse"),
        ("pairs", None, "single-task", 0.0, "same"),
    ):
        gap = gaps[task, source, against]
        assert (gap.interval.value, gap.verdict) == (pytest.approx(value), verdict), (task, source, against)


def test_forgetting_is_the_similarity_after_each_specialists_training(found: SharingReport) -> None:
    assert [(s.task, s.source, s.arm) for s in found.forgetting] == [
        ("pairs", None, "single-task places"),
        ("pairs", None, "single-task people"),
    ]
    assert [s.interval.value for s in found.forgetting] == pytest.approx([-1.0, 1.0])


def test_costs_are_means_over_seeds_and_sums_over_specialists(found: SharingReport) -> None:
    costs = {c.arm: (c.steps, c.seconds, c.parameters) for c in found.costs}
    assert costs == {
        "multi-task": (25.0, 6.2, 1025),
        "single-task": (13.0, 3.2, 3013),
        "frozen probe": (10.0, 2.5, 1010),
        "without retention": (10.0, 2.5, 1010),
    }


@pytest.mark.parametrize("lacking", range(4))
def test_a_seed_that_lacks_a_run_is_left_out(lacking: int) -> None:
    first = [r for r in seed_of(0, {"c/people": (3, 6)}) if r.task in (None, "people")]
    second = [r for r in seed_of(1, {"c/people": (6, 6)}) if r.task in (None, "people")]
    found = summary([*second[:lacking], *second[lacking + 1 :], *first], TASKS[1:2])
    assert found.seeds == (0,)
    assert values(found.scores, "people", "multi-task") == {None: 0.5}


@pytest.mark.parametrize("results", [[], RESULTS[:5], [*RESULTS[:3], *RESULTS[9:]]])
def test_no_complete_seed_is_an_error(results: list[RunResult]) -> None:
    with pytest.raises(DataError, match="no seed has all its runs; call compare again"):
        summary(results)


def test_a_comparison_comes_back_as_it_was_written(found: SharingReport, tmp_path: Path) -> None:
    write(found, tmp_path / "comparison.json")
    assert read(tmp_path / "comparison.json") == found


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_what_is_no_comparison_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "comparison.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"comparison\.json: is no comparison; `python -m mtl compare` writes one"):
        read(path)


def test_verdicts_in_words(found: SharingReport) -> None:
    lines = in_words(found)
    assert len(lines) == 9
    (gap,) = (d.interval for d in found.differences if (d.task, d.source, d.against) == ("places", None, "single-task"))
    assert lines[0] == (f"places: better than single-task (f1 0.750, +0.750 [{gap.low:+.3f}, {gap.high:+.3f}])")
    assert lines[1].startswith("places: better than frozen probe (f1 0.750, +0.250 [")
    assert lines[2] == "places: not told apart from without retention (f1 0.750, +0.000 [+0.000, +0.000])"
    assert lines[3] == "people: worse than single-task (f1 0.000, -1.000 [-1.000, -1.000])"
    assert lines[8] == "pairs: not told apart from without retention (spearman 1.000, +0.000 [+0.000, +0.000])"


def test_one_pass_is_measured_against_a_pass_for_each_task(predictor: Predictor) -> None:
    found = measure_one_pass(predictor, [f"the cat {i}" for i in range(32)])
    assert (found.texts, found.passes) == (32, 3)
    assert found.ratio > 1
