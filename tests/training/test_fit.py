"""A recipe with teachers: they come first, lie beside the model, and are not trained twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mtl
from mtl.errors import ConfigError
from mtl.inference.predictor import Predictor
from mtl.training.config import TrainConfig
from mtl.training.events import RunEnded, StepEnded
from mtl.training.fit import Stage, fit
from mtl.training.recipe import Recipe, SourceSpec


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
    changed = replace(recipe, training=replace(recipe.training, head_lr=1e-4))
    with pytest.raises(ConfigError, match="out-teacher-1: was made by another recipe"):
        list(fit(changed, tmp_path, tmp_path / "out", device="cpu"))


def test_a_stop_while_a_teacher_trains_leaves_no_half_teacher(recipe: Recipe, tmp_path: Path) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 4  # in the second step of the second teacher

    with pytest.raises(ConfigError, match="the same command goes on"):
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
