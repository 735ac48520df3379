"""A comparison of tiny models: who trains on what, what each run leaves behind, and how it goes on."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from mtl.errors import ConfigError, DataError
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor, from_encoder
from mtl.training.compare import Progress, RunResult, compare
from mtl.training.config import FreezePolicy, TrainConfig
from mtl.training.events import Evaluated, RunEnded, RunStarted, StepEnded
from mtl.training.recipe import Recipe, SourceSpec
from mtl.training.recipe_data import build_tasks, load_sources

CAP = 8
ORDER = ["multi-task", "single-task topic", "single-task entities", "single-task similarity", "frozen probe"]
ORDER.append("without retention")
FILES = {f"{name.replace(' ', '-')}-0.json" for name in ORDER}


def write_data(root: Path) -> None:
    """Training rows, validation rows and test rows of four sets; no text stands in two of them."""

    def write(name: str, rows: Sequence[dict[str, object]]) -> None:
        (root / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")

    topics = (("food", "soup"), ("law", "judge"))
    for split, start, sizes in (("train", 0, (12, 4, 6, 6)), ("val", 50, (4, 2, 2, 3)), ("test", 70, (6, 3, 4, 5))):
        notes, more, places, pairs = (range(start, start + size) for size in sizes)
        write(f"notes_{split}", [{"text": f"{topics[i % 2][1]} {i}", "label": topics[i % 2][0]} for i in notes])
        write(f"more_{split}", [{"text": f"my {topics[i % 2][1]} {i}", "label": topics[i % 2][0]} for i in more])
        entity = [{"start": 3, "end": 7, "label": "LOC"}]
        write(f"places_{split}", [{"text": f"in {('Rome', 'Oslo')[i % 2]} {i}", "spans": entity} for i in places])
        write(
            f"pairs_{split}", [{"sentence1": f"a {i}", "sentence2": f"{'ab'[i % 2]} x", "score": i % 5} for i in pairs]
        )


def recipe_of(encoder: Path) -> Recipe:
    sources = {"notes": "topic", "more": "topic", "places": "entities", "pairs": "similarity"}
    files = {
        n: {s: f"{n}_{f}.jsonl" for s, f in (("train", "train"), ("validation", "val"), ("test", "test"))}
        for n in sources
    }
    return Recipe(
        encoder=str(encoder),
        max_tokens=32,
        tasks={
            "topic": {"type": "classification", "labels": ["food", "law"]},
            "entities": {"type": "ner", "labels": ["LOC"], "hidden": 8},
            "similarity": {"type": "similarity"},
        },
        sources={name: SourceSpec(tasks=(task,), **files[name]) for name, task in sources.items()},
        training=TrainConfig(batch_rows=2, encoder_lr=5e-3, head_lr=1e-2, precision="fp32"),
    )


def with_source(recipe: Recipe, name: str, **changes) -> Recipe:
    return replace(recipe, sources={**recipe.sources, name: replace(recipe.sources[name], **changes)})


@dataclass(frozen=True)
class Finished:
    """A comparison that was run once, and everything that it said."""

    recipe: Recipe
    root: Path
    output: Path
    said: list[Progress]

    def again(self, output: Path | None = None, **changes) -> list[Progress]:
        settings = {"seeds": (0,), "cap": CAP, "device": "cpu", **changes}
        recipe = settings.pop("recipe", self.recipe)
        return list(compare(recipe, self.root, output or self.output, **settings))

    def of(self, name: str, kind: type) -> list:
        return [p.news for p in self.said if p.run.name == name and isinstance(p.news, kind)]

    def result(self, name: str) -> RunResult:
        return self.of(name, RunResult)[0]

    def start(self) -> Predictor:
        tasks = build_tasks(self.recipe, self.root)
        return from_encoder(self.recipe.encoder, tasks, max_tokens=32, device="cpu", precision="fp32", seed=0)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return {"root": tmp_path_factory.mktemp("comparison")}


@pytest.fixture
def finished(shelf, make_predictor) -> Finished:
    if "finished" not in shelf:
        root = shelf["root"]
        write_data(root)
        recipe = recipe_of(make_predictor(tasks=()).save(root / "encoder"))
        said = list(compare(recipe, root, root / "out", seeds=(0,), cap=CAP, device="cpu"))
        shelf["finished"] = Finished(recipe, root, root / "out", said)
    return shelf["finished"]


def steps(events: Sequence[StepEnded]) -> dict[str, int]:
    return dict(Counter(e.source for e in events))


def test_every_arm_has_its_result_in_a_file(finished: Finished) -> None:
    results = [p.news for p in finished.said if isinstance(p.news, RunResult)]
    assert [p.run.name for p in finished.said if isinstance(p.news, RunResult)] == ORDER
    assert {path.name for path in (finished.output / "runs").iterdir()} == FILES
    assert [p.news for p in finished.again()] == results
    assert {(p.place, p.total) for p in finished.said} == {(place, 6) for place in range(1, 7)}


def test_the_cap_decides_how_much_is_trained(finished: Finished) -> None:
    by_hand = {"multi-task": 10, "single-task topic": 4, "single-task entities": 3, "single-task similarity": 3}
    by_hand |= {"frozen probe": 7, "without retention": 10}  # batches of two rows of the 4 + 4, 6 and 6 that are left
    assert {name: finished.result(name).steps for name in ORDER} == by_hand
    for name in ORDER:
        assert finished.result(name).tokens == sum(e.tokens for e in finished.of(name, StepEnded)), name


def test_a_specialist_takes_the_shared_runs_steps_on_each_of_its_sources(finished: Finished) -> None:
    shared = steps(finished.of("multi-task", StepEnded))
    assert shared == {"notes": 2, "more": 2, "places": 3, "pairs": 3}
    assert steps(finished.of("single-task topic", StepEnded)) == {name: shared[name] for name in ("notes", "more")}
    assert steps(finished.of("single-task entities", StepEnded)) == {"places": 3}
    assert steps(finished.of("single-task similarity", StepEnded)) == {"pairs": 3}
    assert steps(finished.of("frozen probe", StepEnded)) == {name: shared[name] for name in ("notes", "more", "places")}
    assert steps(finished.of("without retention", StepEnded)) == shared


def test_only_the_shared_run_is_held_to_its_old_vectors(finished: Finished) -> None:
    held = {name: {e.retention is not None for e in finished.of(name, StepEnded)} for name in ORDER}
    assert held == {name: {name == "multi-task"} for name in ORDER}
    ours, free = (finished.of(name, StepEnded) for name in ("multi-task", "without retention"))
    assert [e.source for e in ours] == [e.source for e in free]
    assert ours[0].losses == free[0].losses
    assert ours[-1].losses != free[-1].losses


def test_what_an_arm_does_not_train_stays_as_it_came(finished: Finished) -> None:
    start = finished.start().model.state_dict()
    moving = {
        "single-task topic": ("encoder", "heads.topic"),
        "single-task entities": ("encoder", "heads.entities"),
        "frozen probe": ("heads.topic", "heads.entities"),
    }
    for name, parts in moving.items():
        (ended,) = finished.of(name, RunEnded)
        assert ended.best_step > 0, "else nothing is shown"
        moved = {n for n, value in ended.state.items() if not torch.equal(value, start[n])}
        assert {part for part in parts if any(n.startswith(part) for n in moved)} == set(parts), name
        assert all(n.startswith(parts) for n in moved), name


def test_a_run_is_validated_on_what_it_trains(finished: Finished) -> None:
    seen = {name: {s.source for e in finished.of(name, Evaluated) for s in e.scores} for name in ORDER}
    everything = {"notes", "more", "places", "pairs"}
    assert seen["multi-task"] == seen["without retention"] == everything
    assert seen["single-task topic"] == {"notes", "more"}
    assert seen["single-task similarity"] == {"pairs"}
    assert seen["frozen probe"] == everything - {"pairs"}


def test_results_are_the_scores_of_the_final_weights_on_the_test_sets(finished: Finished) -> None:
    predictor = finished.start()
    test = {s.name: s.examples for s in load_sources(finished.recipe, predictor.tasks, finished.root, "test")}
    topics, similarity = {"notes/topic", "more/topic"}, {"pairs/similarity"}
    whole = topics | similarity | {"places/entities"}
    expected = dict.fromkeys(("multi-task", "frozen probe", "without retention"), whole)
    expected |= {"single-task topic": topics | similarity, "single-task similarity": similarity}
    expected["single-task entities"] = similarity | {"places/entities"}
    sizes = {name: sum(p.numel() for p in head.parameters()) for name, head in predictor.model.heads.items()}
    encoder = sum(p.numel() for p in predictor.model.encoder.parameters())
    for name, keys in expected.items():
        result = finished.result(name)
        assert set(result.metrics) == set(result.statistics) == keys
        predictor.model.load_state_dict(finished.of(name, RunEnded)[0].state)
        for key in keys:
            source, task = key.split("/")
            found = evaluate(predictor, task, test[source])
            assert result.metrics[key] == pytest.approx(dict(found.metrics), abs=1e-6), (name, key)
            assert result.statistics[key] == [pytest.approx(row, abs=1e-6) for row in found.statistics.tolist()]
        heads = [result.task] if result.task else ["topic", "entities"]
        assert result.parameters == encoder + sum(sizes[head] for head in heads)


@pytest.mark.parametrize("name", ["multi-task", "single-task topic", "frozen probe"])
def test_a_deleted_result_alone_is_computed_again_and_the_same(finished: Finished, tmp_path: Path, name: str) -> None:
    output = shutil.copytree(finished.output, tmp_path / "out")
    (output / "runs" / f"{name.replace(' ', '-')}-0.json").unlink()
    said = finished.again(output)
    assert {p.run.name for p in said if not isinstance(p.news, RunResult)} == {name}
    results = {p.run.name: p.news for p in said if isinstance(p.news, RunResult)}
    assert list(results) == ORDER
    for other in ORDER:
        seconds = results[other].seconds if other == name else finished.result(other).seconds
        assert results[other] == replace(finished.result(other), seconds=seconds), other


def test_a_run_that_was_interrupted_leaves_no_result(finished: Finished, tmp_path: Path) -> None:
    stopped = compare(finished.recipe, finished.root, tmp_path / "out", seeds=(0,), cap=CAP, device="cpu")
    while not isinstance(next(stopped).news, StepEnded):
        pass
    stopped.close()
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_folder_of_other_rows_is_refused(finished: Finished, tmp_path: Path) -> None:
    root = shutil.copytree(finished.root, tmp_path / "data")
    path = root / finished.recipe.sources["more"].train
    path.write_text(path.read_text(encoding="utf-8").replace('"text": "', '"text": "so '), encoding="utf-8")
    with pytest.raises(ConfigError, match="another recipe, cap or data"):
        list(compare(finished.recipe, root, finished.output, seeds=(0,), cap=CAP, device="cpu"))


def test_a_recipe_that_is_refused_leaves_the_folder_to_the_mended_one(finished: Finished, tmp_path: Path) -> None:
    short = replace(finished.recipe, training=replace(finished.recipe.training, steps=1))
    with pytest.raises(ConfigError, match="train longer or raise a weight"):
        list(compare(short, finished.root, tmp_path / "out", seeds=(0,), cap=CAP, device="cpu"))
    mended = compare(finished.recipe, finished.root, tmp_path / "out", seeds=(0,), cap=CAP, device="cpu")
    assert isinstance(next(mended).news, RunStarted)


@pytest.mark.parametrize("change", ["rate", "task", "weight", "cap", "pooling", "tokens", "test", "map"])
def test_a_folder_of_other_settings_is_refused(finished: Finished, change: str) -> None:
    recipe = finished.recipe
    changes = {
        "rate": {"recipe": replace(recipe, training=replace(recipe.training, head_lr=0.1))},
        "task": {"recipe": replace(recipe, tasks={**recipe.tasks, "entities": {"type": "ner", "labels": ["LOC"]}})},
        "weight": {"recipe": with_source(recipe, "more", weight=2.0)},
        "cap": {"cap": CAP + 1},
        "pooling": {"recipe": replace(recipe, pooling="cls")},
        "tokens": {"recipe": replace(recipe, max_tokens=16)},
        "test": {"recipe": with_source(recipe, "more", test="notes_test.jsonl")},
        "map": {"recipe": with_source(recipe, "more", map={"food": "law"})},
    }[change]
    with pytest.raises(ConfigError, match="holds a comparison of another recipe, cap or data; choose another --output"):
        finished.again(**changes)
    assert len(finished.again()) == 6, "a refusal leaves the folder as it was"


def test_more_seeds_and_another_seed_in_the_recipe_go_on_in_the_same_folder(finished: Finished) -> None:
    other = replace(finished.recipe, training=replace(finished.recipe.training, seed=7))
    said = compare(other, finished.root, finished.output, seeds=(0, 1), cap=CAP, device="cpu")
    first = [next(said) for _ in range(6)]
    said.close()
    assert [p.news for p in first] == [finished.result(name) for name in ORDER]
    assert {p.total for p in first} == {12}


def test_a_damaged_result_is_named(finished: Finished, tmp_path: Path) -> None:
    output = shutil.copytree(finished.output, tmp_path / "out")
    (output / "runs" / "frozen-probe-0.json").write_text('{"arm": "frozen probe"', encoding="utf-8")
    with pytest.raises(DataError, match=r"frozen-probe-0\.json: is damaged; delete it and compare again"):
        finished.again(output)


def test_a_task_without_a_test_set_is_refused_before_anything_is_trained(finished: Finished, tmp_path: Path) -> None:
    recipe = with_source(finished.recipe, "places", test=None)
    with pytest.raises(DataError, match="task 'entities' has no test set; give one of its sources a `test:` file"):
        next(compare(recipe, finished.root, tmp_path / "out", device="cpu"))


def test_a_start_that_fails_does_not_claim_the_folder(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no test set"):
        next(compare(with_source(finished.recipe, "places", test=None), finished.root, tmp_path / "out", device="cpu"))
    next(compare(finished.recipe, finished.root, tmp_path / "out", seeds=(0,), cap=CAP, device="cpu"))


def test_a_task_that_the_shared_run_never_sees_is_refused_at_once(finished: Finished, tmp_path: Path) -> None:
    recipe = replace(finished.recipe, training=replace(finished.recipe.training, steps=1))
    with pytest.raises(ConfigError, match=r"takes no step for \w+; train longer or raise a weight"):
        next(compare(recipe, finished.root, tmp_path / "out", cap=CAP, device="cpu"))


def test_a_frozen_encoder_cannot_be_compared(finished: Finished, tmp_path: Path) -> None:
    recipe = replace(finished.recipe, training=replace(finished.recipe.training, freeze=FreezePolicy(encoder=True)))
    with pytest.raises(ConfigError, match="every arm would be a frozen probe"):
        next(compare(recipe, finished.root, tmp_path / "out", device="cpu"))


def test_selection_by_one_task_leaves_the_other_arms_their_own(finished: Finished, tmp_path: Path) -> None:
    training = replace(finished.recipe.training, select_by="similarity.spearman")
    said = list(
        compare(replace(finished.recipe, training=training), finished.root, tmp_path, seeds=(0,), cap=CAP, device="cpu")
    )
    assert [p.run.name for p in said if isinstance(p.news, RunResult)] == ORDER


def test_a_specialist_on_a_set_of_two_tasks_learns_one(finished: Finished, tmp_path: Path) -> None:
    spans = [{"start": 3, "end": 7, "label": "LOC"}]
    both = [{"text": f"in Rome {i}", "label": "food", "spans": spans} for i in range(8)]
    (finished.root / "both.jsonl").write_text("\n".join(json.dumps(row) for row in both), encoding="utf-8")
    tasks = ("topic", "entities")
    recipe = with_source(finished.recipe, "places", tasks=tasks, train="both.jsonl", validation=None, test=None)
    recipe = with_source(recipe, "more", tasks=("entities",), validation=None)
    recipe = with_source(recipe, "more", train="places_train.jsonl", test="places_test.jsonl")
    said = compare(recipe, finished.root, tmp_path, seeds=(0,), cap=None, device="cpu")
    steps = [p.news for p in said if p.run.name == "single-task topic" and isinstance(p.news, StepEnded)]
    assert {step.source for step in steps} == {"notes", "places"}
    assert {name for step in steps for name in step.losses} == {"topic"}
