"""The verbs of the REST API answer what the model says, in the shapes that clients expect."""

from __future__ import annotations

import base64
import threading

import numpy as np
import pytest
from starlette.testclient import TestClient

from mtl.types import LabelScores

TEXTS = ["the cat sat", "Ana met the cat in 🏳️‍🌈 Rome", "e\u0301 ok"]


def test_embeddings_are_the_vectors_of_the_model_in_order(client: TestClient) -> None:
    found = client.post("/v1/embeddings", json={"input": TEXTS, "model": "default"}).json()
    wanted = client.service.models.base.encode(TEXTS)
    assert found["object"] == "list"
    assert [one["index"] for one in found["data"]] == [0, 1, 2]
    np.testing.assert_allclose([one["embedding"] for one in found["data"]], wanted, atol=1e-5)
    n_tokens = sum(one.n_tokens for one in client.service.models.base.analyze(TEXTS))
    assert found["usage"] == {"prompt_tokens": n_tokens, "total_tokens": n_tokens}


def test_one_text_is_a_list_of_one(client: TestClient) -> None:
    found = client.post("/v1/embeddings", json={"input": TEXTS[0]}).json()
    assert len(found["data"]) == 1
    assert len(found["data"][0]["embedding"]) == 32


def test_base64_holds_the_same_numbers(client: TestClient) -> None:
    plain, packed = (
        client.post("/v1/embeddings", json={"input": TEXTS, "encoding_format": form}).json()["data"]
        for form in ("float", "base64")
    )
    for one, other in zip(plain, packed, strict=True):
        decoded = np.frombuffer(base64.b64decode(other["embedding"]), dtype="<f4")
        np.testing.assert_allclose(decoded, one["embedding"], atol=1e-6)


def test_fewer_dimensions_are_the_first_ones_at_unit_length(client: TestClient) -> None:
    whole = np.array(client.post("/v1/embeddings", json={"input": TEXTS[0]}).json()["data"][0]["embedding"])
    short = client.post("/v1/embeddings", json={"input": TEXTS[0], "dimensions": 4}).json()["data"][0]["embedding"]
    np.testing.assert_allclose(short, whole[:4] / np.linalg.norm(whole[:4]), atol=1e-5)
    again = client.post("/v1/embeddings", json={"input": TEXTS[0], "dimensions": 4.0}).json()["data"][0]["embedding"]
    assert again == short, "a whole number, however JSON writes it"


def test_what_was_cut_is_said(client: TestClient) -> None:
    long = "cat " * 200
    data = client.post("/v1/embeddings", json={"input": ["cat", long]}).json()["data"]
    assert data[0]["truncated_at"] is None
    assert 0 < data[1]["truncated_at"] < len(long)
    scores = client.post("/v1/similarity", json={"left": ["cat"], "right": [long]}).json()
    assert scores["truncated_left"] == [None]
    assert scores["truncated_right"] == [data[1]["truncated_at"]]


def test_analyze_says_everything_of_one_pass(client: TestClient) -> None:
    found = client.post("/v1/analyze", json={"texts": TEXTS, "embeddings": True}).json()
    wanted = client.service.models.base.analyze(TEXTS)
    for text, ours, theirs in zip(TEXTS, found["results"], wanted, strict=True):
        topic = theirs["topic"]
        assert isinstance(topic, LabelScores)
        assert ours["labels"]["topic"]["label"] == topic.label
        assert ours["labels"]["topic"]["scores"] == pytest.approx(dict(topic.scores), abs=1e-5)
        assert ours["labels"]["topic"]["score"] == max(ours["labels"]["topic"]["scores"].values())
        spans = ours["entities"]["entities"]
        assert [(s["start"], s["end"], s["entity_group"]) for s in spans] == [
            (s.start, s.end, s.label) for s in theirs["entities"]
        ]
        assert all(text[s["start"] : s["end"]] == s["word"] for s in spans)
        np.testing.assert_allclose(ours["embedding"], theirs.vector, atol=1e-5)
        assert ours["n_tokens"] == theirs.n_tokens
    assert sum(len(one["entities"]["entities"]) for one in found["results"]) > 0, "or nothing was compared"


@pytest.mark.parametrize(
    ("route", "here", "absent"), [("classify", "labels", "entities"), ("entities", "entities", "labels")]
)
def test_one_kind_of_task_is_the_same_answer_without_the_others(
    client: TestClient, route: str, here: str, absent: str
) -> None:
    whole = client.post("/v1/analyze", json={"texts": TEXTS}).json()["results"]
    found = client.post(f"/v1/{route}", json={"texts": TEXTS}).json()["results"]
    for one, other in zip(found, whole, strict=True):
        assert one[here].keys() == other[here].keys()
        assert one[absent] == {}
    assert found[0]["embedding"] is None


def test_some_tasks_are_asked_by_name(client: TestClient) -> None:
    found = client.post("/v1/analyze", json={"texts": TEXTS, "tasks": ["topic"]}).json()["results"]
    assert [list(one["labels"]) for one in found] == [["topic"]] * 3
    assert [one["entities"] for one in found] == [{}] * 3
    none = client.post("/v1/analyze", json={"texts": TEXTS[:1], "tasks": []}).json()["results"][0]
    assert (none["labels"], none["entities"]) == ({}, {})


def test_similarity_is_a_matrix_of_cosines(client: TestClient) -> None:
    found = client.post("/v1/similarity", json={"left": TEXTS[:2], "right": TEXTS}).json()["scores"]
    wanted = client.service.models.base.similarity(TEXTS[:2], TEXTS)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_tasks_and_models_are_listed(client: TestClient) -> None:
    tasks = client.get("/v1/tasks").json()["tasks"]
    assert [(t["name"], t["kind"], t["n_texts"]) for t in tasks] == [
        ("topic", "classification", 1),
        ("entities", "ner", 1),
        ("similarity", "similarity", 2),
    ]
    assert tasks[0]["labels"] == ["food", "law", "sport"]
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["dimensions"], model["max_tokens"]) == ("default", "model", 32, 32)


def test_half_a_character_is_refused(client: TestClient) -> None:
    body = b'{"texts": ["Ana \\ud800 met Bob"]}'
    answer = client.post("/v1/analyze", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "texts[0]"


@pytest.mark.parametrize(
    ("route", "body", "status", "said"),
    [
        ("embeddings", {"input": "x", "model": "gpt"}, 404, "There is no model 'gpt'; ask 'default'."),
        ("embeddings", {"input": []}, 422, "at least 1 item"),
        ("embeddings", {"input": [[1, 2]]}, 422, "valid string"),
        ("embeddings", {"input": "x", "dimensions": True}, 422, "valid integer"),
        ("embeddings", {"input": "x", "dimensions": 4.5}, 422, "valid integer"),
        ("embeddings", {"input": ["x"] * 6}, 422, "input has 6 texts; the limit is 5"),
        ("embeddings", {"input": "x", "dimensions": 33}, 422, "the vectors have 32 numbers"),
        ("analyze", {"texts": ["x", " \n"]}, 422, "texts[1] is empty"),
        ("analyze", {"texts": ["x", "y" * 101]}, 422, "texts[1] has 101 characters; the limit is 100"),
        ("analyze", {"texts": ["x"] * 6}, 422, "texts has 6 texts; the limit is 5"),
        ("analyze", {"texts": "x"}, 422, "valid list"),
        ("analyze", {"texts": ["x"], "tasks": ["nope"]}, 422, "the model has no task 'nope'"),
        ("analyze", {"texts": ["x"], "tasks": ["similarity"]}, 422, "takes 2 text(s)"),
        ("analyze", {"texts": ["x"], "task": ["topic"]}, 422, "task: Extra inputs are not permitted"),
        (
            "classify",
            {"texts": ["x"], "tasks": ["entities"]},
            422,
            "'entities' is no task of this kind; there is topic",
        ),
        ("entities", {"texts": ["x"], "tasks": ["topic"]}, 422, "'topic' is no task of this kind; there is entities"),
        ("similarity", {"left": ["x"], "right": [""]}, 422, "right[0]"),
        ("similarity", {"left": ["x"], "right": ["x"] * 6}, 422, "right has 6 texts; the limit is 5"),
    ],
)
def test_what_cannot_be_taken_is_said_in_the_one_shape(
    make_client, route: str, body: object, status: int, said: str
) -> None:
    answer = make_client(max_texts=5, max_characters=100).post(f"/v1/{route}", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert said in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["request_id"] == answer.headers["x-request-id"]


def test_too_many_texts_are_refused_before_they_wait_for_anything(make_client) -> None:
    client = make_client(max_waiting=1, max_texts=2)
    ended = threading.Event()
    client.service.desk.take(ended.wait)
    assert client.post("/v1/analyze", json={"texts": ["a"] * 3}).status_code == 422
    assert client.post("/v1/analyze", json={"texts": ["a"] * 2}).status_code == 503
    ended.set()


def test_too_many_pairs_are_refused_before_anything_is_read(make_client, monkeypatch) -> None:
    client = make_client()
    monkeypatch.setattr("mtl.service.serving.MOST_PAIRS", 5)
    answer = client.post("/v1/similarity", json={"left": ["a", "b"], "right": ["a", "b", "c"]})
    assert answer.status_code == 422
    assert "makes 6 pairs; the limit is 5" in answer.json()["error"]["message"]
