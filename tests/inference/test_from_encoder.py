"""A new model on a pre-trained encoder: its limits, its seed, and a tokenizer that forgets how it was last called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, RobertaConfig, RobertaModel

import mtl
from mtl.inference.predictor import Predictor, build
from mtl.model.encoder import Encoder
from mtl.tasks import Classification, NamedEntities, Task

TASKS: tuple[Task, ...] = (
    Classification(name="mood", labels=("good", "bad"), hidden=8),
    NamedEntities(name="places", labels=("LOC",), hidden=8),
)


@pytest.fixture
def folder(predictor: Predictor, tmp_path: Path) -> Path:
    return predictor.save(tmp_path / "encoder")


def test_heads_are_drawn_by_the_seed_and_the_encoder_is_as_it_was(folder: Path, predictor: Predictor) -> None:
    first, same, other = (mtl.from_encoder(str(folder), TASKS, seed=seed, device="cpu") for seed in (1, 1, 2))
    np.testing.assert_allclose(first.encode(["the cat"]), predictor.encode(["the cat"]), atol=2e-3)
    mine, theirs = first.model.heads.state_dict(), other.model.heads.state_dict()
    for name, value in same.model.heads.state_dict().items():
        assert torch.equal(value, mine[name]), name
    assert any(not torch.equal(value, theirs[name]) for name, value in mine.items())
    assert [task.name for task in first.tasks] == ["mood", "places"]


def test_no_more_tokens_are_read_than_the_encoder_has_positions(folder: Path) -> None:
    predictor = mtl.from_encoder(str(folder), TASKS, max_tokens=5000, device="cpu")
    assert predictor.tokenizer.max_tokens == 62  # of 64; RoBERTa counts from 2
    (found,) = predictor.analyze(["word " * 500])
    assert found.n_tokens == 62
    assert found.truncated_at is not None
    assert np.isfinite(found.vector).all()


def test_a_roberta_encoder_reads_texts_as_long_as_it_has_positions(tmp_path: Path, predictor: Predictor) -> None:
    torch.manual_seed(0)
    backbone = RobertaModel(
        RobertaConfig(
            vocab_size=200, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=20, pad_token_id=0,
        )
    )  # fmt: skip
    source = predictor.save(tmp_path / "roberta")
    (source / "model.safetensors").unlink()
    backbone.save_pretrained(source)
    found = mtl.from_encoder(str(source), TASKS, device="cpu")
    assert found.analyze(["a " * 99])[0].n_tokens == 18
    again = mtl.load(found.save(tmp_path / "again"), device="cpu")
    np.testing.assert_allclose(again.encode(["a " * 99]), found.encode(["a " * 99]), atol=2e-3)


def test_settings_of_the_last_call_are_not_passed_on(predictor: Predictor, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    source = predictor.save(tmp_path / "source")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(source)
    tokenizer(["a b c d e"], padding="max_length", truncation=True, max_length=4)
    backbone: PreTrainedModel = predictor.model.encoder.backbone
    built = build(Encoder(backbone), tokenizer, TASKS, pooling="mean", max_tokens=24, device="cpu")
    written = json.loads(built.tokenizer_files["tokenizer.json"])
    assert (written["truncation"], written["padding"]) == (None, None)
    assert json.loads(built.tokenizer_files["tokenizer_config.json"])["model_max_length"] == 24
    assert built.tokenizer(["a b c d e", "a"]).lengths.tolist() == [7, 3]


def test_a_task_of_the_same_name_is_replaced(predictor: Predictor) -> None:
    (before,) = predictor.analyze(["cat"])
    other = predictor.copy()
    other.add_task(Classification(name="topic", labels=("art", "music")))
    assert [task.name for task in other.tasks] == ["entities", "similarity", "topic"]
    (after,) = other.analyze(["cat"])
    assert set(after["topic"].scores) == {"art", "music"}
    assert after["entities"] == before["entities"]
    assert predictor.task("topic").labels == ("food", "law", "sport")  # the copy is independent
    assert predictor.analyze(["cat"])[0]["topic"].scores == before["topic"].scores


def test_a_tuned_model_is_saved_with_all_its_tasks(predictor: Predictor, tmp_path: Path) -> None:
    predictor.add_task(TASKS[0])
    predictor.meta["test"] = {"set/mood": {"accuracy": 0.5}}
    again = mtl.load(predictor.save(tmp_path / "model", meta={"provenance": {"encoder": "tiny"}}), device="cpu")
    assert again.tasks == predictor.tasks
    assert (again.meta["provenance"], again.meta["test"]) == ({"encoder": "tiny"}, {"set/mood": {"accuracy": 0.5}})
    expected = predictor.analyze(["cat"])[0]["mood"].scores
    assert again.analyze(["cat"])[0]["mood"].scores == pytest.approx(expected, abs=2e-3)
