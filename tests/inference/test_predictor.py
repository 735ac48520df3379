"""A model in use: the caller's order, the same answer alone and in a batch, one pass for every task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mtl.errors import ConfigError
from mtl.inference import passes
from mtl.inference.export import prediction_rows, write_rows
from mtl.inference.packed_layers import PackedBert
from mtl.inference.predictor import Predictor
from mtl.model.precision import device_of
from mtl.tasks import Classification
from mtl.types import Analysis, LabelScores, PairScore, Span

TEXTS = ["The cat sat.", "", "a", "U.S. law in Rome " * 5, "cat " * 60, "👍🏽", "the cat sat."]


def test_a_text_gets_the_same_answer_alone_and_in_a_batch(predictor: Predictor, monkeypatch) -> None:
    monkeypatch.setattr(passes, "PACKED_TOKENS", 64)  # several batches, none in the caller's order
    together = predictor.analyze(TEXTS)
    for text, mine in zip(TEXTS, together, strict=True):
        (alone,) = predictor.analyze([text])
        np.testing.assert_allclose(mine.vector, alone.vector, atol=1e-5)
        assert mine["topic"].label == alone["topic"].label
        assert mine["topic"].scores == pytest.approx(alone["topic"].scores, abs=1e-5)
        assert [(s.start, s.end, s.label) for s in mine["entities"]] == [
            (s.start, s.end, s.label) for s in alone["entities"]
        ]
        assert (mine.n_tokens, mine.truncated_at) == (alone.n_tokens, alone.truncated_at)


def test_vectors_are_of_unit_length_and_float32(predictor: Predictor) -> None:
    vectors = predictor.encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 32), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert predictor.encode([]).shape == (0, 32)


def test_similarity_is_the_cosine_of_the_vectors(predictor: Predictor) -> None:
    left, right = TEXTS[:2], TEXTS[2:5]
    found = predictor.similarity(left, right)
    np.testing.assert_allclose(found, predictor.encode(left) @ predictor.encode(right).T, atol=1e-6)


def test_analysis_names_every_single_text_task_and_what_was_cut(predictor: Predictor) -> None:
    short, long = predictor.analyze(["a b", "a " * 60])
    assert set(short.predictions) == {"topic", "entities"}
    assert sum(short["topic"].scores.values()) == pytest.approx(1)
    assert short["topic"].scores[short["topic"].label] == max(short["topic"].scores.values())
    assert (short.n_tokens, short.truncated_at) == (4, None)
    assert (long.n_tokens, long.truncated_at) == (32, 59)


def test_all_tasks_are_read_off_one_encoder_pass(predictor: Predictor, monkeypatch) -> None:
    seen = []
    predictor.packed = False
    handle = predictor.model.encoder.register_forward_hook(lambda *_: seen.append("plain"))
    predictor.analyze(["a", "b"])
    handle.remove()
    predictor.packed = True
    predictor.analyze(["a"])  # packs, and compares with the plain path
    usual = PackedBert.__call__
    monkeypatch.setattr(PackedBert, "__call__", lambda *words, **more: seen.append("packed") or usual(*words, **more))
    predictor.analyze(["a", "b"])
    assert seen == ["plain", "packed"]


def test_blank_text_gets_a_vector_and_no_spans(predictor: Predictor) -> None:
    for text in ("", "  \n", "\u200b"):
        (found,) = predictor.analyze([text])
        assert found["entities"] == ()
        assert np.isfinite(found.vector).all()


def test_pairs_are_scored_in_order(predictor: Predictor) -> None:
    left, right = ["a", "b " * 40, "the cat"], ["the cat", "c", "the cat"]
    found = predictor.analyze_pairs(left, right)
    expected = np.diag(predictor.similarity(left, right))
    assert [a["similarity"].score for a in found] == pytest.approx(expected.tolist(), abs=1e-5)
    assert found[2]["similarity"] == PairScore(pytest.approx(1, abs=1e-5))
    assert found[1].truncated_at is not None
    assert found[0].vector.shape == (2, 32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.analyze(["a"], tasks=["mood"]), "has no task 'mood'; it has topic, entities, similarity"),
        (lambda p: p.analyze(["a"], tasks=["similarity"]), "use analyze_pairs"),
        (lambda p: p.analyze_pairs(["a"], ["b"], tasks=["topic"]), "use analyze"),
        (lambda p: p.analyze_pairs(["a"], []), "two lists of one length, got 1 and 0"),
    ],
)
def test_a_wrong_call_is_told_what_is_right(predictor: Predictor, call, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call(predictor)


def test_one_string_is_not_a_list_of_letters(predictor: Predictor) -> None:
    with pytest.raises(TypeError, match="pass a list of texts"):
        predictor.encode("abc")


def test_a_device_that_is_not_here_is_named() -> None:
    with pytest.raises(ConfigError, match="device 'foo' is not on this machine"):
        device_of("foo")


def test_a_copy_has_weights_of_its_own(predictor: Predictor) -> None:
    before = predictor.encode(["cat"])
    other = predictor.copy()
    for parameter in other.model.parameters():
        parameter.data.add_(0.1)
    np.testing.assert_array_equal(predictor.encode(["cat"]), before)
    assert not np.allclose(other.encode(["cat"]), before)


def test_a_new_head_leaves_the_others_as_they_were(predictor: Predictor) -> None:
    (before,) = predictor.analyze(["cat"])
    predictor.add_task(Classification(name="mood", labels=("good", "bad")))
    (after,) = predictor.analyze(["cat"])
    assert set(after["mood"].scores) == {"good", "bad"}
    assert after["topic"].scores == before["topic"].scores


def found(text: str) -> Analysis:
    label = LabelScores("law", {"law": 0.75, "food": 0.25})
    spans = (Span(0, 4, "LOC", 0.9),)
    return Analysis({"topic": label, "entities": spans}, np.zeros(2, np.float32), 4, None)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_answers_are_written_and_read_back(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"answers.{ending}"
    write_rows(path, prediction_rows(["Rome is big", "=1+1"], [found(""), found("")]))
    readers = {"jsonl": lambda p: pd.read_json(p, lines=True), "csv": pd.read_csv, "parquet": pd.read_parquet}
    frame = readers[ending](path)
    assert frame["topic"].tolist() == ["law", "law"]
    assert frame["topic_score"].tolist() == [0.75, 0.75]
    assert "Rome" in str(frame["entities"][0])
    # a spreadsheet runs a CSV cell that begins with = as a formula
    assert frame["text"][1] == ("'=1+1" if ending == "csv" else "=1+1")


def test_an_unknown_ending_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown ending '.txt'"):
        write_rows(tmp_path / "a.txt", [])
    with pytest.raises(ConfigError, match="no such folder"):
        write_rows(tmp_path / "none" / "a.csv", [])


def test_a_stream_is_read_as_it_is_asked_for_and_comes_back_in_order(predictor: Predictor, monkeypatch) -> None:
    monkeypatch.setattr(passes, "WINDOW", 3)
    taken: list[int] = []

    def texts():
        for number in range(10):
            taken.append(number)
            yield f"cat {number} " * (1 + number % 4)

    answers = predictor.stream(texts())
    first = next(answers)
    assert taken == [0, 1, 2]
    found = [first, *answers]
    expected = predictor.analyze(list(texts()))
    assert [a.n_tokens for a in found] == [a.n_tokens for a in expected]
    np.testing.assert_allclose([a.vector for a in found], [a.vector for a in expected], atol=1e-5)


def marks_every_word(predictor: Predictor, monkeypatch) -> None:
    """The entity head says B-PER of every token."""
    head = predictor.model.heads["entities"]
    logits = torch.full((1, head.network[-1].out_features), -9.0)
    logits[0, 1] = 9.0
    head.forward = lambda encoding: logits.expand(len(encoding.word_shape), -1)
    predictor.packed = False


@pytest.mark.parametrize("n_words", [1, 29, 30, 31, 44, 45, 60, 61, 200])
def test_each_word_of_a_long_text_is_marked_once(predictor: Predictor, monkeypatch, n_words: int) -> None:
    marks_every_word(predictor, monkeypatch)
    text = " ".join("abcdefghij"[i % 10] for i in range(n_words))
    other = "b c"
    found, short = predictor.analyze([text, other])
    assert [(s.start, s.end) for s in found["entities"]] == [(2 * i, 2 * i + 1) for i in range(n_words)]
    assert [(s.start, s.end) for s in short["entities"]] == [(0, 1), (2, 3)]
    assert (found.truncated_at is None) == (n_words <= 30)
    assert found.n_tokens == min(32, n_words + 2)
