"""The checkpoint that ships: small, loaded by everybody's tools, and as good as its card says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mtl
from mtl.data import tables
from mtl.evaluation.evaluate import evaluate
from mtl.inference.onnx_export import export_onnx
from mtl.inference.predictor import Predictor
from mtl.settings import ROOT
from mtl.types import LabelScores
from tests.running import DATA

FOLDER = ROOT / "checkpoints" / "default"
RENAME = {"science-technology": "science/technology"}
TEXTS = ["Oslo wins the cup.", "", "U.S. 👍🏽 naïve café", "one two three four five six seven " * 60]

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no test sets here; MTL_TEST_DATA names their folder")


@pytest.fixture(scope="module")
def default() -> Predictor:
    return mtl.load(FOLDER, device="cpu")


def score(default: Predictor, task: str, source: str) -> dict[str, float]:
    table = tables.read(DATA / source / "test.jsonl.gz")
    rows = tables.examples(table, [default.task(task)], rename=RENAME if task == "topic" else None)
    return dict(evaluate(default, task, rows).metrics)


def test_it_is_small_and_holds_no_pickle() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md"}


def test_it_knows_the_agreed_tasks(default: Predictor) -> None:
    labels = {task.name: set(task.labels) for task in default.tasks}
    topics = "business entertainment geography health politics science/technology sports travel"
    assert labels == {
        "topic": set(topics.split()),
        "sentiment": {"negative", "neutral", "positive"},
        "entities": {"PER", "LOC", "ORG"},
        "similarity": set(),
    }


def test_sentence_transformers_gives_the_same_vectors(default: Predictor) -> None:
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    theirs = library.SentenceTransformer(str(FOLDER), device="cpu").encode(TEXTS)
    assert (default.encode(TEXTS) * theirs).sum(1).min() > 0.9999


def test_transformers_gives_the_same_vectors(default: Predictor) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    batch = AutoTokenizer.from_pretrained(FOLDER)(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(FOLDER)(**batch).last_hidden_state.numpy()
    mask = batch.attention_mask.numpy()[..., None]
    theirs = (states * mask).sum(1) / mask.sum(1)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    assert (default.encode(TEXTS) * theirs).sum(1).min() > 0.9999


@pytest.mark.parametrize(
    ("text", "topic", "sentiment"),
    [
        ("The striker scored twice in the final and the fans sang all night.", "sports", None),
        ("Shares of the bank fell after its quarterly profit warning.", "business", None),
        ("The new vaccine protects children from measles.", "health", None),
        ("I love this, thank you so much!", None, "positive"),
        ("This is the worst service I have ever had.", None, "negative"),
    ],
)
def test_it_reads_plain_sentences(default: Predictor, text: str, topic: str | None, sentiment: str | None) -> None:
    (found,) = default.analyze([text])
    for name, expected in (("topic", topic), ("sentiment", sentiment)):
        value = found[name]
        assert isinstance(value, LabelScores)
        assert expected in (None, value.label)


def test_entities_lie_where_they_stand(default: Predictor) -> None:
    text = "👍🏽 Angela Merkel met José Pérez of the U.N. in New York."
    (found,) = default.analyze([text])
    marked = {text[span.start : span.end]: span.label for span in found["entities"]}
    assert marked["Angela Merkel"] == "PER"
    assert marked["José Pérez"] == "PER"
    assert marked["New York"] == "LOC"


def test_casing_matters(default: Predictor) -> None:
    texts = ["apple pie in paris", "Apple opened in Paris"]
    small, capital = (
        [(text[span.start : span.end], span.label) for span in found["entities"]]
        for text, found in zip(texts, default.analyze(texts), strict=True)
    )
    assert "ORG" not in [label for _, label in small]
    assert capital == [("Apple", "ORG"), ("Paris", "LOC")]


def test_the_onnx_script_gives_our_answers_without_mtl(default: Predictor, tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"needs {name}")
    export_onnx(default, tmp_path)
    text = "Maria Keller doesn't like Apple's new shop in Oslo."
    loads = [line for line in (tmp_path / "use.py").read_text().splitlines() if line.startswith(("import ", "from "))]
    assert loads == ["import json, sys", "from pathlib import Path", "import numpy as np, onnxruntime, tokenizers"]
    command = [sys.executable, "-I", str(tmp_path / "use.py"), text]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    said = dict(line.split(" ", 1) for line in printed.splitlines())
    (found,) = default.analyze([text])
    assert said["topic"] == found["topic"].label
    assert said["sentiment"] == found["sentiment"].label
    begins = [(words, tag[2:]) for words, tag in ast.literal_eval(said["entities"]) if tag.startswith("B-")]
    assert begins == [(text[s.start : s.end].split()[0], s.label) for s in found["entities"]]
    assert ("Oslo", "LOC") in begins


@needs_data
def test_topic_and_similarity_hold_on_the_small_test_sets(default: Predictor) -> None:
    assert score(default, "topic", "sib200_en")["accuracy"] >= 0.86
    assert score(default, "similarity", "stsb_open")["spearman"] >= 0.82


@needs_data
@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "source", "metric", "least"),
    [
        ("topic", "sib200_en", "accuracy", 0.86),
        ("topic", "uci_news", "accuracy", 0.915),
        ("sentiment", "goemotions_sentiment", "macro_f1", 0.745),
        ("entities", "uner_en_ewt", "f1", 0.775),
        ("entities", "btc", "f1", 0.735),
        ("similarity", "stsb_open", "spearman", 0.825),
    ],
)
def test_every_test_set_holds_and_is_what_the_card_says(
    default: Predictor, task: str, source: str, metric: str, least: float
) -> None:
    found = score(default, task, source)[metric]
    assert found >= least
    assert found == pytest.approx(default.meta["test"][f"{source}/{task}"][metric], abs=1e-3)
    assert f"{metric} {default.meta['test'][f'{source}/{task}'][metric]:.4f}" in Path(FOLDER / "README.md").read_text()
