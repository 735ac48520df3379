"""What the command line takes: other labels, other tasks, other endings, single settings of a recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import mtl
from mtl.__main__ import app, main
from mtl.evaluation.evaluate import evaluate
from mtl.inference.predictor import Predictor
from mtl.types import Example, Span

TEXTS = ["Rome is big", "the cat", "=1+1", "a " * 60]


@pytest.fixture
def folder(predictor: Predictor, tmp_path: Path) -> Path:
    return predictor.save(tmp_path / "model")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    pd.DataFrame({"text": TEXTS}).to_csv(path, index=False)
    return path


def call(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The sentence on stderr (a progress bar may stand before it); stdout must be empty and the code 2."""
    monkeypatch.setattr(sys, "argv", ["mtl", *(str(word) for word in words)])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    assert (caught.value.code, printed.out) == (2, "")
    _, error, sentence = f"\n{printed.err}".partition("\nerror: ")
    assert error
    assert "Traceback" not in printed.err
    return sentence


def test_entities_and_pairs_are_evaluated_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 4, "label": "LOC"}]
    (tmp_path / "ner.jsonl").write_text(json.dumps({"text": TEXTS[0], "spans": spans}) + "\n", encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t1\nc d\te\t4\n", encoding="utf-8")
    model = mtl.load(folder)
    rows = {
        "entities": ("ner.jsonl", [Example((TEXTS[0],), {"entities": (Span(0, 4, "LOC"),)})]),
        "similarity": (
            "pairs.tsv",
            [Example(("a", "b"), {"similarity": 0.2}), Example(("c d", "e"), {"similarity": 0.8})],
        ),
    }
    for task, (name, examples) in rows.items():
        found = json.loads(call("evaluate", folder, "--task", task, "--data", tmp_path / name, "--json"))
        assert found["metrics"] == pytest.approx(dict(evaluate(model, task, examples).metrics))


def test_a_choice_among_labels_is_scored_among_them_only(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{text},old\n" for text in TEXTS[:2]), encoding="utf-8")
    words = ["evaluate", folder, "--task", "topic", "--data", path, "--json", "--map", "old=sport"]
    alone = json.loads(call(*words, "--among", "sport"))["metrics"]["accuracy"]
    assert alone == 1.0
    scores = [a["topic"].scores for a in mtl.load(folder).analyze(TEXTS[:2])]
    expected = np.mean([s["sport"] > s["law"] for s in scores])
    assert json.loads(call(*words, "--among", "sport,law"))["metrics"]["accuracy"] == expected


def test_labels_that_the_task_does_not_have_are_listed(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,food\nb,art\nc,music\n", encoding="utf-8")
    said = fails(monkeypatch, capsys, "evaluate", folder, "--task", "topic", "--data", path, "--json")
    assert "'art'" in said
    assert "'music'" in said
    assert "expected one of food, law, sport" in said


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_vectors_are_written_in_every_format(folder: Path, texts: Path, tmp_path: Path, ending: str) -> None:
    output = tmp_path / f"vectors.{ending}"
    call("embed", folder, texts, "--output", output)
    if ending == "jsonl":
        vectors = [json.loads(line)["vector"] for line in output.read_text(encoding="utf-8").splitlines()]
    elif ending == "csv":
        vectors = [json.loads(cell) for cell in pd.read_csv(output)["vector"]]
    else:
        vectors = [list(vector) for vector in pd.read_parquet(output)["vector"]]
    np.testing.assert_allclose(vectors, mtl.load(folder).encode(TEXTS), atol=1e-6)


def test_entities_and_cuts_are_written_as_analyze_says_them(folder: Path, texts: Path, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    call("predict", folder, texts, "--output", output)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    for text, row, analysis in zip(TEXTS, rows, mtl.load(folder).analyze(TEXTS), strict=True):
        assert row["text"] == text
        assert row["truncated_at"] == analysis.truncated_at
        assert row["topic_score"] == pytest.approx(analysis["topic"].scores[row["topic"]], abs=1e-4)
        assert [(s["start"], s["end"], s["label"]) for s in row["entities"]] == [
            (s.start, s.end, s.label) for s in analysis["entities"]
        ]
        assert [s["word"] for s in row["entities"]] == [text[s.start : s.end] for s in analysis["entities"]]
    assert rows[3]["truncated_at"] is not None


RECIPE = """
encoder: {folder}
max_tokens: 32
tasks:
  mood: {{type: classification, labels: [good, bad]}}
sources:
  notes: {{tasks: [mood], train: train.csv, test: test.csv}}
training: {{steps: 50, retention: null}}
"""


@pytest.fixture
def recipe(folder: Path, tmp_path: Path) -> Path:
    lines = [f"{word} {i},{label}" for i in range(6) for word, label in (("fine", "good"), ("awful", "bad"))]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    (tmp_path / "test.csv").write_text("text,label\nfine day,good\n", encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(folder=folder), encoding="utf-8")
    return path


def test_one_setting_of_a_recipe_can_be_changed(recipe: Path, tmp_path: Path) -> None:
    words = ["train", recipe, "--data-root", tmp_path, "--output", tmp_path / "new", "--device", "cpu"]
    printed = call(*words, "--set", "training.steps=2", "--set", "training.freeze={encoder: true}")
    assert "Frozen: the whole encoder." in printed
    assert "2 steps on cpu" in printed
    trained = mtl.load(tmp_path / "new")
    training = trained.meta["provenance"]["training"]
    assert (training["steps"], training["freeze"]["encoder"]) == (2, True)
    np.testing.assert_array_equal(trained.encode(TEXTS), mtl.load(tmp_path / "model").encode(TEXTS))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.step=1", "training.step"),
        ("training.steps=0", "training.steps is 0; it must be above 0"),
        ("training.freeze={layers: 9}", "freeze.layers is 9; the encoder has 2 layers"),
        ("tasks.mood.hidden=-1", "hidden is -1; it must be a whole number"),
        ("tasks.mood.labels=[good, odd]", "'bad'; expected one of good, odd"),
        ("sources.notes.train=none.csv", "no such file"),
        ("nonsense", "say NAME=VALUE"),
    ],
)
def test_a_wrong_setting_ends_with_one_sentence(
    recipe: Path, tmp_path: Path, monkeypatch, capsys, override: str, words: str
) -> None:
    said = fails(
        monkeypatch, capsys, "train", recipe, "--data-root", tmp_path, "--output", tmp_path / "x", "--set", override
    )
    assert words in said
    assert not (tmp_path / "x" / "mtl.json").exists()
