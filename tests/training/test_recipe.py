"""A recipe: read, overridden, refused where it is wrong; held-out texts are never trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mtl.errors import ConfigError
from mtl.settings import ROOT
from mtl.training.recipe import load_recipe, provenance, teacher_recipes
from mtl.training.recipe_data import build_tasks, load_sources
from tests.running import DATA

DEFAULT = ROOT / "assets" / "recipes" / "default.yaml"
RECIPE = """
encoder: some/encoder
tasks:
  mood: {type: classification, labels: from data}
sources:
  notes: {tasks: [mood], train: train.jsonl, validation: val.jsonl, test: test.jsonl, map: {fine: good}}
training: {epochs: 2}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    def write(name: str, rows: list[tuple[str, str]]) -> None:
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")

    write("train.jsonl", [("one", "good"), ("Two ", "bad"), ("three", "fine"), ("four", "bad")])
    write("val.jsonl", [("two", "bad")])
    write("test.jsonl", [("FOUR", "bad"), ("five", "good")])
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_rows_whose_text_is_held_out_are_not_trained_on(recipe: Path) -> None:
    wanted = load_recipe(recipe)
    tasks = build_tasks(wanted, recipe.parent)
    (train,) = load_sources(wanted, tasks, recipe.parent, "train")
    (test,) = load_sources(wanted, tasks, recipe.parent, "test")
    assert [(row.texts[0], row.targets["mood"]) for row in train.examples] == [("one", "good"), ("three", "good")]
    assert [row.texts[0] for row in test.examples] == ["FOUR", "five"]


def test_labels_come_from_the_data_after_renaming(recipe: Path) -> None:
    (task,) = build_tasks(load_recipe(recipe), recipe.parent)
    assert task.labels == ("bad", "good")


def test_an_override_is_read_as_yaml(recipe: Path) -> None:
    wanted = load_recipe(
        recipe, ["training.epochs=0.5", "training.freeze={layers: 2}", "training.retention=null", "encoder=other"]
    )
    assert wanted.training.epochs == 0.5
    assert wanted.training.freeze.layers == 2
    assert wanted.training.retention is None
    assert wanted.encoder == "other"


def test_a_teacher_is_the_recipe_but_for_the_fields_that_it_sets(recipe: Path) -> None:
    wanted = load_recipe(recipe, ["teachers=[{training.seed: 1}, {training.retention: null, pooling: cls}]"])
    one, two = teacher_recipes(wanted)
    alone = replace(wanted, teachers=())
    assert one == replace(alone, training=replace(wanted.training, seed=1))
    assert two == replace(alone, training=replace(wanted.training, retention=None), pooling="cls")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.epoch=1"], "training.epoch"),
        (["training.epochs=-1"], "training.epochs is -1"),
        (["training.epochs=many"], "training.epochs"),
        (["training.freeze.layers=-1"], "freeze.layers is -1"),
        (["nonsense"], "say NAME=VALUE"),
        (["training.epochs=["], "the value is not YAML"),
        (["max_tokens=-3"], "max_tokens is -3"),
        (["encoder.x=1"], "'encoder' has no fields"),
        (["sources.notes.tasks=[tone]"], "feeds task 'tone', which is not among mood"),
        (["sources.notes.weight=0"], "source 'notes': weight is 0"),
        (["sources.notes.weight=.nan"], "source 'notes': weight is nan"),
        (["sources.notes.limit=0"], "source 'notes': limit is 0"),
        (["sources.notes.replace_mentions=1.5"], "source 'notes': replace_mentions is 1.5"),
        (["sources.notes.replace_mentions=0.3"], "'notes' has replace_mentions and feeds 0 tasks of type ner"),
        (["pooling=sum"], "pooling"),
        (["teachers=[{training.sed: 1}]"], "teacher 1: training.sed"),
        (["teachers=[{training.epochs: -1}]"], "teacher 1: training.epochs is -1"),
        (["teachers=[{max_tokens: 64}]"], "teacher 1 sets max_tokens"),
        (["teachers=[{encoder.x: 1}]"], "teacher 1: 'encoder' has no fields"),
        (["teachers=[{training.seed: 1}, {training.seed: 1}]"], "teachers 1 and 2 are the same"),
    ],
)
def test_a_wrong_field_is_named(recipe: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.yaml|--set") as caught:
        load_recipe(recipe, overrides)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [("a: [", "is not YAML"), ("just text", "is no recipe"), ("{}", "encoder")]
)
def test_what_is_no_recipe_is_told_so(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        load_recipe(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


def test_the_default_recipe_names_a_licence_and_a_source_for_every_set() -> None:
    wanted = load_recipe(DEFAULT)
    sources = provenance(wanted)["sources"]
    assert len(sources) == 7
    assert all(entry["licence"] and entry["source"] for entry in sources.values())
    assert {task for entry in sources.values() for task in entry["tasks"]} == set(wanted.tasks)


def test_what_is_made_of_a_checkpoint_inherits_its_licence() -> None:
    said = provenance(load_recipe(DEFAULT, [f"encoder={ROOT / 'checkpoints' / 'default'}", "licence=''"]))
    assert (said["licence"], said["language"], said["began_with"]) == ("cc-by-sa-4.0", "en", "default")
    said = provenance(load_recipe(DEFAULT, [f"encoder={ROOT / 'checkpoints' / 'default'}", "licence=mit"]))
    assert said["licence"] == "mit"
    said = provenance(load_recipe(DEFAULT, ["licence=''"]))
    assert (said["licence"], "began_with" in said) == ("", False)


def test_the_default_recipes_data_can_be_read_where_it_is() -> None:
    if not DATA.is_dir():
        pytest.skip("the data sets of the default recipe are not here; MTL_TEST_DATA names their folder")
    wanted = load_recipe(DEFAULT)
    tasks = build_tasks(wanted, DATA)
    test = {source.name: source for source in load_sources(wanted, tasks, DATA, "test")}
    assert len(test["sib200_en"].examples) == 204
    assert "science/technology" in {row.targets["topic"] for row in test["uci_news"].examples}


def test_labels_that_yaml_reads_as_true_and_false_are_told_so(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"yes, no, on and off as true and false; put its labels in quotes"):
        build_tasks(load_recipe(recipe, ["tasks.mood.labels=[yes, no]"]), tmp_path)
