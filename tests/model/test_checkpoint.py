"""The folder that ships: what loads it, what it gives back, and what it says when it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import mtl
from mtl.errors import CheckpointError
from mtl.inference.predictor import Predictor

TEXTS = ["the cat", "", "U.S. law, p. 9", "Ana saw Rome. " * 20]


@pytest.fixture
def folder(predictor: Predictor, tmp_path: Path) -> Path:
    return predictor.save(tmp_path / "model")


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def test_what_was_saved_answers_as_before(predictor: Predictor, folder: Path) -> None:
    again = mtl.load(folder, device="cpu", precision="fp32")
    assert again.tasks == predictor.tasks
    np.testing.assert_allclose(again.encode(TEXTS), predictor.encode(TEXTS), atol=2e-3)
    for mine, theirs in zip(predictor.analyze(TEXTS), again.analyze(TEXTS), strict=True):
        assert mine["topic"].label == theirs["topic"].label
        assert mine["topic"].scores == pytest.approx(theirs["topic"].scores, abs=2e-3)
        assert [(s.start, s.end, s.label) for s in mine["entities"]] == [
            (s.start, s.end, s.label) for s in theirs["entities"]
        ]
        assert mine.n_tokens == theirs.n_tokens
        assert mine.truncated_at == theirs.truncated_at


def test_weights_are_stored_half_and_loaded_as_float32(folder: Path) -> None:
    for name in ("model.safetensors", "heads.safetensors"):
        assert {tensor.dtype for tensor in load_file(folder / name).values()} == {torch.float16}
    assert {p.dtype for p in mtl.load(folder).model.parameters()} == {torch.float32}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"


def test_saving_what_was_loaded_changes_no_bit(folder: Path, tmp_path: Path) -> None:
    again = mtl.load(folder).save(tmp_path / "again")
    for name in ("model.safetensors", "heads.safetensors", "tokenizer.json", "config.json", "mtl.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_transformers_loads_the_folder_and_gives_the_same_vectors(folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        states, mask = model(**batch).last_hidden_state, batch.attention_mask[..., None]
    theirs = ((states * mask).sum(1) / mask.sum(1)).numpy()
    assert model.dtype == torch.float32
    assert cosines(mtl.load(folder, device="cpu").encode(TEXTS), theirs).min() > 0.9999


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_sentence_transformers_loads_the_folder_and_gives_the_same_vectors(make_predictor, tmp_path, pooling) -> None:
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    folder = make_predictor(pooling=pooling).save(tmp_path / "model")
    theirs = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(theirs, axis=1), 1, atol=1e-5)
    assert cosines(mtl.load(folder, device="cpu").encode(TEXTS), theirs).min() > 0.9999


def test_only_safetensors_json_and_text_are_written(folder: Path) -> None:
    endings = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert endings <= {".safetensors", ".json", ".txt"}


def test_whoever_may_read_the_tasks_may_read_the_weights(folder: Path) -> None:
    modes = {(folder / name).stat().st_mode for name in ("mtl.json", "model.safetensors", "heads.safetensors")}
    assert len(modes) == 1


def damage_truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def damage_heads(folder: Path) -> None:
    state = load_file(folder / "heads.safetensors")
    name = next(name for name in state if name.startswith("topic."))
    save_file({**state, name: state[name][:1]}, folder / "heads.safetensors")


def damage_spec(folder: Path) -> None:
    meta = json.loads((folder / "mtl.json").read_text())
    meta["tasks"][0]["type"] = "poetry"
    (folder / "mtl.json").write_text(json.dumps(meta))


def changed(name: str, **values: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**settings, **values}))

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_truncate, "model.safetensors.*damaged or cut short"),
        (damage_heads, "heads.safetensors does not fit task 'topic'"),
        (damage_spec, "mtl.json.*type 'poetry'"),
        (lambda f: (f / "mtl.json").unlink(), "is no mtl checkpoint, mtl.json is missing"),
        (lambda f: (f / "mtl.json").write_text("{"), "mtl.json.*damaged"),
        (lambda f: (f / "mtl.json").write_text('{"format": 99, "tasks": []}'), "not of format 1"),
        (lambda f: (f / "config.json").write_text("{}"), "config.json"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda f: (f / "heads.safetensors").unlink(), "heads.safetensors is missing"),
        (lambda f: (f / "heads.safetensors").write_bytes(b"\x09"), "heads.safetensors.*damaged or cut short"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors.*damaged or cut short"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "config.json"),
        (lambda f: (f / "mtl.json").write_bytes(b"\xff\xfe{"), "mtl.json.*damaged"),
        (lambda f: (f / "mtl.json").write_text("[" * 100_000), "mtl.json.*damaged"),
        (lambda f: (f / "mtl.json").write_text("[1]"), "not of format 1"),
        (changed("config.json", hidden_size=64), "model.safetensors does not fit config.json"),
        (changed("config.json", num_attention_heads=3), "config.json: describes no encoder"),
        (changed("mtl.json", tasks=["topic"]), "mtl.json: its tasks cannot be read"),
        (changed("mtl.json", tasks=[{"type": "similarity", "name": "x", "scale": 0}]), "mtl.json.*scale is 0"),
        (changed("mtl.json", tasks=[{"type": "similarity", "name": "x"}] * 2), "two of them are named 'x'"),
        (changed("mtl.json", tasks=3), "mtl.json: its tasks cannot be read"),
        (changed("mtl.json", tasks=[{"type": "similarity"}]), "mtl.json: its tasks cannot be read"),
        (changed("mtl.json", pooling="sum"), "mtl.json: pooling is 'sum'; it must be one of mean, cls, max"),
        (changed("mtl.json", max_tokens="many"), "mtl.json: max_tokens is 'many'"),
        (changed("mtl.json", max_tokens=0), "mtl.json: max_tokens is 0"),
        (changed("mtl.json", max_tokens=65), "mtl.json: max_tokens is 65; the encoder of config.json reads 64"),
    ],
)
def test_a_damaged_folder_is_named(folder: Path, damage, words: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=words) as caught:
        mtl.load(folder)
    assert str(folder) in str(caught.value) or "heads.safetensors" in str(caught.value)


def test_an_encoder_in_double_or_half_precision_is_read_as_float32(folder: Path) -> None:
    before = mtl.load(folder, device="cpu").encode(TEXTS)
    for name in ("model.safetensors", "heads.safetensors"):
        save_file({key: value.double() for key, value in load_file(folder / name).items()}, folder / name)
    again = mtl.load(folder, device="cpu")
    assert {p.dtype for p in again.model.parameters()} == {torch.float32}
    np.testing.assert_array_equal(again.encode(TEXTS), before)


def test_saving_over_a_checkpoint_leaves_no_half_written_file(make_predictor, folder: Path) -> None:
    other = make_predictor(pooling="max", max_tokens=16)
    other.save(folder)
    assert not list(folder.rglob("*.part"))
    again = mtl.load(folder, device="cpu")
    assert (again.model.pooling.mode, again.tokenizer.max_tokens) == ("max", 16)
    np.testing.assert_allclose(again.encode(TEXTS), other.encode(TEXTS), atol=2e-3)


def test_no_folder_at_all_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        mtl.load(tmp_path / "nowhere")


def test_an_encoder_that_cannot_be_found_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        mtl.from_encoder(str(tmp_path))
