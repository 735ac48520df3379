"""A recipe with teachers: they come first, lie beside the model, and are not trained twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mtl
from mtl.data.batches import Source
from mtl.errors import ConfigError, DataError, MtlError
from mtl.inference.predictor import Predictor
from mtl.training.config import TrainConfig
from mtl.training.events import RunEnded, StepEnded
from mtl.training.fit import Stage, fit
from mtl.training.recipe import Recipe, SourceSpec
from tests.training.small import poison


@pytest.fixture
def recipe(predictor: Predictor, tmp_path: Path) -> Recipe:
    rows = [f"{word} {i},{label}\n" for i in range(6) for word, label in (("soup", "food"), ("judge", "law"))]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(rows), encoding="utf-8")
    return Recipe(
        encoder=str(predictor.save(tmp_path / "encoder")),
        max_tokens=32,
        tasks={"topic": {"type": "classification", "labels": ["food", "law"]}},
        sources={"notes": SourceSpec(tasks=("topic",), train="rows.csv")},
        teachers=({"training.seed": 6}, {"training.seed": 7, "training.head_lr": 1e-3}),
        training=TrainConfig(steps=3, batch_rows=4, retention=None, seed=5, precision="fp32"),
    )


def weights(folder: Path) -> torch.Tensor:
    return mtl.load(folder, device="cpu").model.heads["topic"].network[-1].weight


def test_every_stage_is_saved_and_only_the_last_one_imitates(recipe: Recipe, tmp_path: Path) -> None:
    events = list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    stages = [e for e in events if isinstance(e, Stage)]
    assert [(s.folder.name, s.place, s.total) for s in stages] == [
        ("out-teacher-1", 1, 3),
        ("out-teacher-2", 2, 3),
        ("out", 3, 3),
    ]
    taught = [e.imitation is not None for e in events if isinstance(e, StepEnded)]
    assert taught == [False] * 6 + [True] * 3
    assert mtl.load(tmp_path / "out").meta["provenance"]["teachers"] == [*recipe.teachers]
    assert not torch.equal(weights(tmp_path / "out-teacher-1"), weights(tmp_path / "out-teacher-2"))


def test_a_second_call_goes_on_after_the_teachers_that_are_there(recipe: Recipe, tmp_path: Path) -> None:
    list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    first = weights(tmp_path / "out")
    events = list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    assert [e.done_before for e in events if isinstance(e, Stage)] == [True, True, False]
    assert len([e for e in events if isinstance(e, StepEnded)]) == 3
    assert torch.equal(weights(tmp_path / "out"), first)


def test_teachers_of_another_recipe_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    other_head = {"topic": {**recipe.tasks["topic"], "hidden": 8}}
    for changed in (
        replace(recipe, training=replace(recipe.training, head_lr=1e-4)),
        replace(recipe, pooling="cls"),
        replace(recipe, tasks=other_head),
        replace(recipe, sources={"notes": replace(recipe.sources["notes"], validation="rows.csv")}),
    ):
        with pytest.raises(ConfigError, match="out-teacher-1: was made by another recipe"):
            list(fit(changed, tmp_path, tmp_path / "out", device="cpu"))
    reworded = replace(recipe, licence="cc0-1.0", sources={"notes": replace(recipe.sources["notes"], licence="CC0")})
    assert next(iter(fit(reworded, tmp_path, tmp_path / "out", device="cpu"))) == Stage(
        tmp_path / "out-teacher-1", 1, 3, done_before=True
    )


def test_a_stop_while_a_teacher_trains_leaves_no_half_teacher(recipe: Recipe, tmp_path: Path) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 4  # in the second step of the second teacher

    with pytest.raises(ConfigError, match="the same command with --resume goes on"):
        list(fit(recipe, tmp_path, tmp_path / "out", device="cpu", should_stop=stop))
    assert (tmp_path / "out-teacher-1" / "mtl.json").is_file()
    assert not (tmp_path / "out-teacher-2" / "mtl.json").exists()
    assert not (tmp_path / "out" / "mtl.json").exists()


def test_a_stop_in_the_last_stage_keeps_what_there_is(recipe: Recipe, tmp_path: Path) -> None:
    alone = replace(recipe, teachers=())
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    events = list(fit(alone, tmp_path, tmp_path / "out", device="cpu", should_stop=stop))
    assert [e.reason for e in events if isinstance(e, RunEnded)] == ["stopped"]
    assert mtl.load(tmp_path / "out").task("topic").labels == ("food", "law")
    assert mtl.load(tmp_path / "out").meta["run"] == {"reason": "stopped", "steps": 2, "best_step": 2}


def test_a_stop_before_the_first_step_leaves_what_was_there(recipe: Recipe, tmp_path: Path) -> None:
    alone = replace(recipe, teachers=())
    list(fit(alone, tmp_path, tmp_path / "out", device="cpu"))
    before = weights(tmp_path / "out")
    other = replace(alone, training=replace(alone.training, seed=9))
    with pytest.raises(ConfigError, match=r"stopped before .*out began"):
        list(fit(other, tmp_path, tmp_path / "out", device="cpu", should_stop=lambda: True))
    assert torch.equal(weights(tmp_path / "out"), before)


def test_a_teacher_does_not_learn_what_the_model_is_tested_on(recipe: Recipe, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "test.csv").write_text("text,label\nSoup 0,food\njudge 5,law\n", encoding="utf-8")
    careless = {"training.seed": 1, "sources.notes.test": None}
    tested = {"notes": replace(recipe.sources["notes"], test="test.csv")}
    seen: list[str] = []
    monkeypatch.setattr(
        "mtl.training.fit.train", lambda predictor, sources, *_, **__: seen.extend(_texts(sources)) or iter(())
    )
    stages = fit(replace(recipe, teachers=(careless,), sources=tested), tmp_path, tmp_path / "out", device="cpu")
    assert next(stages).place == 1
    with pytest.raises(MtlError):  # the teacher was not saved, so the model cannot begin
        next(stages), next(stages)
    assert len(seen) == 10
    assert not {"soup 0", "judge 5"} & set(seen)


def _texts(sources: Sequence[Source]) -> list[str]:
    return [row.texts[0] for source in sources for row in source.examples]


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ({"text": "a", "task": "topic", "expected": "sport"}, "topic \\(classification\\) cannot answer 'sport'"),
        ({"text": "a", "task": "mood", "expected": "good"}, "no task of one text is called 'mood'"),
        ({"text": "a", "task": "topic", "expected": [["a", "food"]]}, "cannot answer"),
    ],
)
def test_what_would_end_the_work_later_is_told_before_it_begins(
    recipe: Recipe, tmp_path: Path, probe: dict[str, object], words: str
) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text(json.dumps(probe), encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        next(iter(fit(replace(recipe, probes=str(path)), tmp_path, tmp_path / "out", device="cpu")))
    path.write_bytes(b"\xe9")
    with pytest.raises(DataError, match="is not UTF-8"):
        next(iter(fit(replace(recipe, probes=str(path)), tmp_path, tmp_path / "out", device="cpu")))
    among = {"notes": replace(recipe.sources["notes"], among=("fod",))}
    with pytest.raises(ConfigError, match="'notes': among is fod; task 'topic'"):
        next(iter(fit(replace(recipe, sources=among), tmp_path, tmp_path / "out", device="cpu")))
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_diverged_is_not_taught_from(recipe: Recipe, tmp_path: Path, monkeypatch) -> None:
    poison(monkeypatch, at=2)
    with pytest.raises(ConfigError, match="was nan at step 2"):
        list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    assert not (tmp_path / "out-teacher-1" / "mtl.json").exists()
    monkeypatch.undo()
    events = list(fit(recipe, tmp_path, tmp_path / "out", device="cpu", resume=True))
    assert [e.done_before for e in events if isinstance(e, Stage)] == [False, False, False]


def test_a_run_that_diverged_keeps_its_best_weights(recipe: Recipe, tmp_path: Path, monkeypatch) -> None:
    poison(monkeypatch, at=2)
    events = list(fit(replace(recipe, teachers=()), tmp_path, tmp_path / "out", device="cpu"))
    assert [e.reason for e in events if isinstance(e, RunEnded)] == ["diverged"]
    assert mtl.load(tmp_path / "out").meta["run"]["reason"] == "diverged"
    assert weights(tmp_path / "out").isfinite().all()


def test_teachers_of_other_rows_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))
    with (tmp_path / "rows.csv").open("a", encoding="utf-8") as file:
        file.write("bread,food\n")
    with pytest.raises(ConfigError, match="out-teacher-1: was made by another recipe or with other data"):
        list(fit(recipe, tmp_path, tmp_path / "out", device="cpu"))


def test_a_teacher_of_another_family_is_refused_before_any_is_trained(recipe: Recipe, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(recipe.encoder, other)
    settings = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    settings["normalizer"]["lowercase"] = False
    (other / "tokenizer.json").write_text(json.dumps(settings), encoding="utf-8")
    mixed = replace(recipe, teachers=({"encoder": str(other)},))
    with pytest.raises(ConfigError, match="other' has another tokenizer than"):
        next(iter(fit(mixed, tmp_path, tmp_path / "out", device="cpu")))
