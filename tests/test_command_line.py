"""The command line on a tiny checkpoint: what is printed, what is written, how a user's error ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import mtl
from mtl.__main__ import app, main
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.types import Example

ROWS = [("Rome is big", "food"), ("the cat", "law"), ("a", "sport")]


@pytest.fixture
def folder(predictor: Predictor, tmp_path: Path) -> Path:
    return predictor.save(tmp_path / "model")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS), encoding="utf-8")
    return path


def call(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_evaluate_prints_one_json_object_and_nothing_else(folder: Path, table: Path) -> None:
    found = json.loads(call("evaluate", folder, "--task", "topic", "--data", table, "--json"))
    expected = evaluate(mtl.load(folder), "topic", [Example((text,), {"topic": label}) for text, label in ROWS])
    assert found == {"task": "topic", "kind": "classification", "examples": 3, "metrics": expected.metrics}


def test_evaluate_can_restrict_and_rename(folder: Path, table: Path) -> None:
    renamed = json.loads(
        call(
            "evaluate",
            folder,
            "--task",
            "topic",
            "--data",
            table,
            "--json",
            "--among",
            "law",
            "--map",
            "food=law,sport=law",
        )
    )
    assert renamed["metrics"]["accuracy"] == 1.0


def test_evaluate_for_people_is_a_small_table(folder: Path, table: Path) -> None:
    assert call("evaluate", folder, "--task", "topic", "--data", table).startswith(
        "topic (classification), 3 examples\n"
    )


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_predict_answers_each_row_with_every_task(folder: Path, table: Path, tmp_path: Path, ending: str) -> None:
    output = tmp_path / f"answers.{ending}"
    call("predict", folder, table, "--output", output)
    read = {"jsonl": lambda p: pd.read_json(p, lines=True), "csv": pd.read_csv, "parquet": pd.read_parquet}[ending]
    frame = read(output)
    assert frame["label"].tolist() == [label for _, label in ROWS]  # the columns of the table stay
    assert frame["text"].tolist() == [text for text, _ in ROWS]
    assert frame["topic"].tolist() == [a["topic"].label for a in mtl.load(folder).analyze([t for t, _ in ROWS])]


def test_embed_writes_the_vectors(folder: Path, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "vectors.parquet"
    call("embed", folder, table, "--output", output)
    vectors = pd.read_parquet(output)["vector"]
    assert list(vectors[1]) == pytest.approx(mtl.load(folder).encode(["the cat"])[0].tolist(), abs=1e-3)


def test_train_writes_a_checkpoint_with_its_card_and_test_figures(folder: Path, tmp_path: Path, table: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""
encoder: {folder}
max_tokens: 32
tasks:
  mood: {{type: classification, labels: [food, law, sport]}}
sources:
  notes: {{tasks: [mood], train: big.csv, validation: rows.csv, test: rows.csv, licence: CC0, source: notes of ours}}
training: {{steps: 3, retention: null, freeze: {{layers: 1}}}}
""",
        encoding="utf-8",
    )
    lines = [f"{text} {i},{label}\n" for i in range(5) for text, label in ROWS]
    (tmp_path / "big.csv").write_text("text,label\n" + "".join(lines), encoding="utf-8")
    output = tmp_path / "trained"
    printed = call("train", recipe, "--data-root", tmp_path, "--output", output, "--device", "cpu")
    assert "Frozen: the embeddings and the first 1 layers." in printed
    trained = mtl.load(output)
    assert [task.name for task in trained.tasks] == ["mood"]
    figures = json.loads(call("evaluate", output, "--task", "mood", "--data", table, "--json"))["metrics"]
    found = trained.meta["test"]["notes/mood"]
    assert {name: found[name] for name in ("examples", *figures)} == {"examples": 3, **figures}
    card = (output / "README.md").read_text(encoding="utf-8")
    assert f"accuracy {figures['accuracy']:.4f}" in card
    assert "notes of ours | CC0" in card
    assert str(tmp_path) not in card + (output / "mtl.json").read_text(encoding="utf-8")

    meta = json.loads((output / "mtl.json").read_text(encoding="utf-8"))
    del meta["test"]  # as where a kill came before the test figures
    (output / "mtl.json").write_text(json.dumps(meta), encoding="utf-8")
    (output / "README.md").unlink()
    printed = call("train", recipe, "--data-root", tmp_path, "--output", output, "--device", "cpu", "--resume")
    assert "step 1 " not in printed
    assert (output / "README.md").read_text(encoding="utf-8") == card


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["evaluate", "{tmp}/none", "--task", "topic", "--data", "{table}"], "no such folder"),
        (["evaluate", "{folder}", "--task", "mood", "--data", "{table}"], "has no task 'mood'"),
        (["evaluate", "{folder}", "--task", "topic", "--data", "{tmp}/none.csv"], "no such file"),
        (["evaluate", "{folder}", "--task", "topic", "--data", "{table}", "--among", "art"], "it has food, law, sport"),
        (["evaluate", "{folder}", "--task", "topic", "--data", "{table}", "--map", "x"], "say OLD=NEW"),
        (
            ["evaluate", "{folder}", "--task", "topic", "--data", "{table}", "--map", "food=art"],
            "expected one of food, law",
        ),
        (["predict", "{folder}", "{table}", "--output", "{tmp}/x.txt"], "unknown ending '.txt'"),
        (["train", "{tmp}/none.yaml", "--output", "{tmp}/x"], "give the path of a recipe"),
        (["export", "{folder}", "--output", "{table}"], "choose another --output"),
        (["embed", "{folder}", "{tmp}/none.csv", "--output", "{tmp}/x.txt"], "unknown ending '.txt'"),
        (["predict", "{folder}", "{table}", "--output", "{tmp}/no/x.csv"], "no such folder; make it first"),
    ],
)
def test_a_users_error_is_a_sentence_and_exit_code_2(
    folder, table, tmp_path, monkeypatch, capsys, words, sentence
) -> None:
    filled = [word.format(folder=folder, table=table, tmp=tmp_path) for word in words]
    monkeypatch.setattr(sys, "argv", ["mtl", *filled])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert sentence in printed.err
    assert printed.err.startswith("error: ")
    assert "Traceback" not in printed.err + printed.out
