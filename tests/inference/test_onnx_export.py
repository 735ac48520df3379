"""One ONNX graph for every head: its numbers are ours, for any batch and length, with and without padding."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl.errors import ConfigError
from mtl.inference.onnx_export import INPUTS, export_onnx
from mtl.inference.predictor import Predictor
from mtl.tasks import Classification, NamedEntities, Similarity
from tests.conftest import MakePredictor

TASKS = (
    Classification(name="topic", labels=("food", "law", "sport"), hidden=5),
    NamedEntities(name="entities", labels=("PER", "LOC"), hidden=16, context=(1, 2)),
    NamedEntities(name="places", labels=("LOC",), layers="mix", hidden=0, word_shape=0),
    Similarity(name="similarity"),
)
TEXTS = ["Rome", "The cat in ROME sings 3 songs.", "", "a b c d e f g"]

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs onnx, onnxscript and onnxruntime",
)


def outputs(folder: Path, predictor: Predictor, texts: list[str]) -> dict[str, np.ndarray]:
    """The graph on texts padded to the longest, with rubbish where there is padding."""
    import onnxruntime

    tokens = predictor.tokenizer(texts)
    longest = int(tokens.lengths.max())
    valid = torch.arange(longest) < tokens.lengths[:, None]
    ids, shape = torch.full(valid.shape, 7), torch.ones(*valid.shape, tokens.word_shape.shape[1])
    ids[valid], shape[valid] = tokens.ids, tokens.word_shape
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    inputs = dict(zip(INPUTS, (ids.numpy(), valid.long().numpy(), shape.numpy()), strict=True))
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
    return {name: value if value.ndim == 2 else value[valid.numpy()] for name, value in found.items()}


@needs_onnx
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_its_logits_are_ours(make_predictor: MakePredictor, tmp_path: Path, pooling: str) -> None:
    predictor = make_predictor(TASKS, pooling=pooling)
    export_onnx(predictor, tmp_path)
    for texts in (TEXTS, TEXTS[:1], TEXTS[1:2] * 3):
        found = outputs(tmp_path, predictor, texts)
        with torch.inference_mode():
            encoding = predictor.model.encode(predictor.tokenizer(texts))
            ours = predictor.model.read(encoding, ["topic", "entities", "places"])
        assert set(found) == {"sentence", *ours}
        np.testing.assert_allclose(found["sentence"], predictor.encode(texts), atol=1e-5)
        for name, logits in ours.items():
            np.testing.assert_allclose(found[name], logits.numpy(), atol=1e-4)


@needs_onnx
def test_labels_and_limit_lie_beside_the_graph(make_predictor: MakePredictor, tmp_path: Path) -> None:
    export_onnx(make_predictor(TASKS, max_tokens=20), tmp_path)
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert labels["topic"] == {"type": "classification", "labels": ["food", "law", "sport"]}
    assert labels["places"] == {"type": "ner", "labels": ["O", "B-LOC", "I-LOC"]}
    settings = json.loads((tmp_path / "tokenizer.json").read_text())
    assert settings["truncation"]["max_length"] == 20
    assert settings["padding"] is None


@needs_onnx
def test_exporting_leaves_the_predictor_as_it_was(make_predictor: MakePredictor, tmp_path: Path) -> None:
    predictor = make_predictor(TASKS)
    before = predictor.encode(TEXTS)
    export_onnx(predictor, tmp_path)
    np.testing.assert_array_equal(predictor.encode(TEXTS), before)
    assert not predictor.model.training


def test_without_the_packages_it_says_what_to_install(
    make_predictor: MakePredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match="needs onnxscript: pip install onnx onnxscript onnxruntime"):
        export_onnx(make_predictor(), tmp_path / "graph")
    assert not (tmp_path / "graph").exists()
