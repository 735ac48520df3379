"""A recipe is looked at before it is trained: all problems at once, the mix, time and memory; nothing is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mtl.__main__ import app
from mtl.errors import ConfigError, DataError
from mtl.inference.predictor import Predictor
from mtl.settings import ROOT
from mtl.training.config import FreezePolicy, Sampling, TrainConfig
from mtl.training.dry_run import dry_run, in_words
from mtl.training.recipe import Recipe, SourceSpec, load_recipe


@pytest.fixture
def recipe(predictor: Predictor, tmp_path: Path) -> Recipe:
    topics = [f"{word} {i},{label}\n" for i in range(20) for word, label in (("soup", "food"), ("judge", "law"))]
    (tmp_path / "topics.csv").write_text("text,label\n" + "".join(topics), encoding="utf-8")
    places = [f"x\tin [{city}](LOC) {i}\n" for i in range(4) for city in ("Rome", "Oslo", "Bonn")]
    (tmp_path / "places.marked").write_text("".join(places), encoding="utf-8")
    return Recipe(
        encoder=str(predictor.save(tmp_path / "encoder")),
        max_tokens=32,
        tasks={
            "topic": {"type": "classification", "labels": "from data"},
            "entities": {"type": "ner", "labels": ["LOC"], "hidden": 8},
        },
        sources={
            "topics": SourceSpec(tasks=("topic",), train="topics.csv", validation=0.25),
            "places": SourceSpec(tasks=("entities",), train="places.marked", weight=2.0),
        },
        training=TrainConfig(epochs=3, batch_rows=4, retention=None, precision="fp32"),
    )


def test_it_shows_the_mix_and_what_it_takes(recipe: Recipe, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    found = dry_run(recipe, tmp_path, device="cpu")
    topics, places = found.sources
    assert (topics.source, topics.tasks, topics.rows) == ("topics", ("topic",), 30)
    assert (places.source, places.tasks, places.rows) == ("places", ("entities",), 12)
    assert found.started.steps == topics.batches + places.batches == 3 * (8 + 2 * 3)
    assert topics.share + places.share == pytest.approx(1)
    assert topics.epochs == pytest.approx(3, abs=0.15)
    assert places.epochs == pytest.approx(6, abs=0.35)
    assert [(mix.task, mix.rows) for mix in found.tasks] == [("topic", 30), ("entities", 12)]
    assert [mix.epochs for mix in found.tasks] == pytest.approx([topics.epochs, places.epochs])
    assert found.validation_rows == 10
    assert 0 < found.seconds < 60
    assert found.memory >= 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    words = "\n".join(in_words(found))
    assert "Nothing is frozen. Peak rates: encoder 0.0003, heads 0.002." in words
    assert f"{found.started.steps} steps on cpu: about" in words
    assert words.endswith("nothing was written")


def test_a_frozen_run_is_estimated_by_one_pass_and_repeats_by_their_cap(recipe: Recipe, tmp_path: Path) -> None:
    frozen = replace(recipe.training, freeze=FreezePolicy(encoder=True), sampling=Sampling(max_repeats=2))
    found = dry_run(replace(recipe, training=frozen), tmp_path, device="cpu")
    assert max(mix.epochs for mix in found.sources) <= 2
    assert found.started.policy.startswith("Frozen: the whole encoder.")


def test_all_problems_are_named_at_once(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("text,label\nsoup,food\nplane,travel\n", encoding="utf-8")
    sources = {
        **recipe.sources,
        "absent": SourceSpec(tasks=("topic",), train="absent.csv"),
        "bad": SourceSpec(tasks=("entities",), train="bad.csv", test="nowhere.csv"),
    }
    tasks = {**recipe.tasks, "topic": {"type": "classification", "labels": ["food", "law"]}}
    tasks["mood"] = {"type": "classification", "labels": ["one"]}
    with pytest.raises(DataError) as caught:
        dry_run(replace(recipe, tasks=tasks, sources=sources), tmp_path, device="cpu")
    message = str(caught.value)
    assert message.startswith("4 problems:\n- ")
    for part in ("task 'mood' has 1 labels", "absent.csv", "bad.csv: task 'entities' needs a column", "nowhere.csv"):
        assert part in message


def test_every_wrong_field_of_a_recipe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    values = {"encoder": "x", "tasks": {}, "sources": {"a": {"train": 3}}, "trainings": {}, "max_tokens": "many"}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    for part in ("sources.a.tasks", "sources.a.train", "trainings", "max_tokens"):
        assert part in str(caught.value)


@pytest.mark.parametrize("share", [0, 1, -0.2, 1.5])
def test_a_share_for_validation_is_between_0_and_1(recipe: Recipe, share: float) -> None:
    with pytest.raises(ConfigError, match=r"'topics': validation is .*; say a file, or a share between 0 and 1"):
        replace(recipe, sources={"topics": replace(recipe.sources["topics"], validation=share)})


def call(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_minimal_recipe_runs_as_its_first_lines_say(tmp_path: Path) -> None:
    words = ["train", ROOT / "assets/recipes/minimal.yaml", "--data-root", ROOT / "assets/samples"]
    encoder = f"encoder={ROOT / 'checkpoints' / 'default'}"
    told = call(*words, "--set", encoder, "--dry-run")
    assert "helpdesk" in told
    assert "nothing was written" in told
    told = call(*words, "--set", encoder, "--set", "training.epochs=3", "--output", tmp_path / "out")
    assert "The frozen encoder's outputs are computed once and kept" in told
    assert (tmp_path / "out" / "README.md").is_file()
    told = call(*words, "--set", encoder, "--set", "training.epochs=3", "--output", tmp_path / "out", "--resume")
    assert told.strip().endswith("(there)")


def test_a_run_without_output_is_refused() -> None:
    with pytest.raises(ConfigError, match="--output is missing"):
        call("train", ROOT / "assets/recipes/minimal.yaml")


@pytest.mark.parametrize("name", ["default", "snips", "minimal"])
def test_the_recipes_that_ship_can_be_read(name: str) -> None:
    recipe = load_recipe(ROOT / "assets" / "recipes" / f"{name}.yaml")
    assert recipe.training.describe().endswith(f"heads {recipe.training.head_lr:g}.")


def test_a_network_that_is_frozen_whole_takes_no_step(recipe: Recipe, tmp_path: Path) -> None:
    frozen = replace(recipe, training=replace(recipe.training, freeze=FreezePolicy(everything=True)))
    found = dry_run(frozen, tmp_path, device="cpu")
    assert (found.started.steps, found.seconds) == (0, 0.0)


def test_a_choice_of_the_best_weights_that_names_nothing_is_a_problem(recipe: Recipe, tmp_path: Path) -> None:
    chosen = replace(recipe, training=replace(recipe.training, select_by="topic.f7"))
    with pytest.raises(DataError, match=r"select_by is 'topic.f7'; say mean, worst or one of topic.accuracy"):
        dry_run(chosen, tmp_path, device="cpu")
