"""What strangers may send: sizes, keys, rates, times; and what the log and the figures say of it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import tracemalloc

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from mtl.api import guard
from mtl.api.app import build_api
from mtl.errors import BusyError, ConfigError
from mtl.service.service import Service
from mtl.settings import Settings
from tests.running import run

BODY = {"texts": ["the cat"]}
SECRET = "Zebras whisper quietly"


def error_of(answer: object) -> dict[str, object]:
    return answer.json()["error"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit_is_refused_declared_or_not(make_client, declared: bool) -> None:
    client = make_client(max_body_bytes=1000)
    body = json.dumps({"texts": ["x" * 2000]}).encode()
    content = body if declared else iter([body[:500], body[500:]])
    answer = client.post("/v1/analyze", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "content_too_large"
    assert "1,000 bytes" in error_of(answer)["message"]


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b"[" * 100_000, b'"text"', b"", b"null", b'{"texts": ' + b"[" * 50_000 + b"1"]
)
def test_what_is_no_json_of_ours_is_unprocessable(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/analyze", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert error_of(answer)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [
        {"input": [1] * 300_000},
        {"texts": [None] * 300_000},
        {"texts": ["a"], "tasks": [1] * 300_000},
        {**{f"field {i}": 1 for i in range(100_000)}, "texts": ["a"]},
    ],
)
def test_a_million_mistakes_are_answered_as_one(client: TestClient, body: dict[str, object]) -> None:
    route = "embeddings" if "input" in body else "analyze"
    content = json.dumps(body).encode()
    tracemalloc.start()
    answer = client.post(f"/v1/{route}", content=content, headers={"Content-Type": "application/json"})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 422
    assert len(answer.content) < 1000
    assert most < 40 * len(content), "memory grows with the body, not with its mistakes"


def test_a_method_that_there_is_not_has_no_name_of_its_own_in_the_figures(client: TestClient) -> None:
    client.request("ZEBRA", "/v1/analyze")
    assert "ZEBRA" not in client.get("/metrics").text
    assert 'method="other"' in client.get("/metrics").text


def test_bodies_on_their_way_are_bounded_together(make_client, monkeypatch) -> None:
    client = make_client(max_body_bytes=1000)
    monkeypatch.setattr(guard, "MOST_HELD", 0)
    answer = client.post("/v1/analyze", json=BODY)
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    monkeypatch.undo()
    assert client.post("/v1/analyze", json=BODY).status_code == 200


def test_all_texts_together_have_a_limit(make_client) -> None:
    answer = make_client(max_request_characters=10).post("/v1/analyze", json={"texts": ["123456", "123456"]})
    assert answer.status_code == 422
    assert "texts has 12 characters together; the limit is 10" in error_of(answer)["message"]
    client = make_client(max_request_characters=10)
    answer = client.post("/v1/similarity", json={"left": ["123456"], "right": ["123456"]})
    assert answer.status_code == 422
    assert "left and right have 12 characters together; the limit is 10" in error_of(answer)["message"]


def test_what_takes_no_body_reads_none(predictor) -> None:
    api = build_api(Service(Settings(), base=predictor))
    sent = answered_by(api, "/healthz", never)
    assert sent[0]["status"] == 405


def test_an_answer_that_nobody_reads_is_given_up(predictor, monkeypatch, caplog) -> None:
    monkeypatch.setattr(guard, "SEND_S", 0.2)
    monkeypatch.setattr(guard, "PART", 1000)
    api = build_api(Service(Settings(), base=predictor))
    body = json.dumps({"texts": ["a cat"] * 50}).encode()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    sent = answered_by(api, "/v1/analyze", receive, takes=3)
    assert [len(message.get("body", b"")) for message in sent[1:]] == [1000, 1000], "the third part is not taken"
    assert "an answer was not read" in caplog.text
    whole = answered_by(api, "/v1/analyze", receive)
    assert all(message["more_body"] for message in whole[1:-1])
    assert not whole[-1]["more_body"]
    assert len(json.loads(b"".join(message["body"] for message in whole[1:]))["results"]) == 50


async def never() -> dict[str, object]:
    raise AssertionError("the body was asked for")


def answered_by(api: object, path: str, receive: object, takes: int = 10_000) -> list[dict[str, object]]:
    """What an app sends to a client that takes so many messages and then reads no more."""
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        if len(sent) == takes:
            await asyncio.sleep(60)
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
        "raw_path": path.encode(), "root_path": "", "query_string": b"", "scheme": "http", "client": ("t", 1),
        "server": ("t", 80), "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    run(api(scope, receive, send))
    return sent


def test_without_a_key_the_verbs_and_figures_are_closed_and_health_is_open(make_client) -> None:
    client = make_client(api_key="first, second")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "first"}, {"X-API-Key": "x"}):
        answer = client.post("/v1/analyze", json=BODY, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert error_of(answer)["type"] == "authentication_error"
        assert client.get("/metrics", headers=headers).status_code == 401
    for headers in ({"Authorization": "Bearer first"}, {"Authorization": "bearer second"}, {"X-API-Key": "second"}):
        assert client.post("/v1/analyze", json=BODY, headers=headers).status_code == 200
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.get("/openapi.json").json()["paths"]["/v1/analyze"]["post"]["security"] == [{"HTTPBearer": []}]


def test_a_key_that_is_no_ascii_is_wrong_and_no_fault(make_client) -> None:
    answer = make_client(api_key="first").get("/v1/tasks", headers={"X-API-Key": "schlüssel".encode("latin-1")})
    assert answer.status_code == 401


def test_too_many_requests_of_one_client_are_told_when_to_come_again(make_client) -> None:
    client = make_client(rate_limit="3/minute", trusted_proxies=1)
    here, there = ({"X-Forwarded-For": f"9.9.9.9, 10.0.0.{i}"} for i in (1, 2))
    assert [client.get("/v1/tasks", headers=here).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = client.get("/v1/tasks", headers=here)
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert error_of(refused)["type"] == "rate_limit_error"
    assert client.get("/v1/tasks", headers=there).status_code == 200, "another client has its own"
    assert client.get("/healthz", headers=here).status_code == 200, "health is not counted"


def test_without_a_proxy_to_trust_nobody_can_pretend_to_be_another(make_client) -> None:
    client = make_client(rate_limit="2/minute")
    found = [client.get("/v1/tasks", headers={"X-Forwarded-For": f"10.0.0.{i}"}).status_code for i in range(3)]
    assert found == [200, 200, 429]


def test_an_id_is_taken_over_or_given(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    given = [client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"] for bad in ("a b", "x" * 65)]
    assert all(len(one) == 32 for one in given)
    assert given[0] != given[1]


def test_the_log_has_what_happened_and_no_text(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.post("/v1/analyze", json={"texts": [SECRET, SECRET]}, headers={"X-Request-ID": "abc"})
    client.post("/v1/analyze", json={"texts": [SECRET], SECRET: 1})
    client.post("/v1/embeddings", json={"input": SECRET, "model": SECRET})
    ours = [record for record in caplog.records if record.name == "mtl.api"]
    assert [(r.route, r.status) for r in ours] == [("/v1/analyze", 200), ("/v1/analyze", 422), ("/v1/embeddings", 404)]
    assert ours[0].request_id == "abc"
    assert ours[0].texts == 2
    assert ours[0].tokens > 4
    assert not any(SECRET in str(vars(record)) for record in caplog.records)


def test_a_fault_of_the_program_has_the_one_shape_and_a_line_in_the_log(
    client: TestClient, monkeypatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client.service.serving, "analyze", lambda *_, **__: 1 / 0)
    answer = client.post("/v1/analyze", json=BODY, headers={"X-Request-ID": "abc"})
    assert answer.status_code == 500
    assert error_of(answer) == {
        "message": guard.FAULT,
        "type": "server_error",
        "param": None,
        "code": "internal_error",
        "request_id": "abc",
    }
    faults = [record for record in caplog.records if record.exc_info]
    assert [record.request_id for record in faults] == ["abc"]


def test_when_all_places_are_taken_the_next_is_sent_away_and_health_answers(make_client) -> None:
    client = make_client(max_waiting=1)
    held = threading.Event()
    begun = client.service.desk.take(held.wait)
    try:
        answer = client.post("/v1/analyze", json=BODY)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert error_of(answer)["type"] == "server_error"
        assert client.get("/healthz").status_code == 200
    finally:
        held.set()
    begun.result(10)
    assert client.post("/v1/analyze", json=BODY).status_code == 200


def test_what_takes_too_long_is_told_so_and_counts_until_it_is_done(make_client, monkeypatch) -> None:
    client = make_client(max_request_s=1)
    held = threading.Event()
    monkeypatch.setattr(client.service.serving, "analyze", lambda *_, **__: held.wait() and 1 / 0)
    answer = client.post("/v1/analyze", json=BODY)
    assert answer.status_code == 503
    assert "more than 1 seconds" in error_of(answer)["message"]
    assert int(answer.headers["retry-after"]) >= 1
    assert client.service.desk.taken == 1
    held.set()
    end = time.monotonic() + 10
    while client.service.desk.taken and time.monotonic() < end:
        time.sleep(0.01)
    assert client.service.desk.taken == 0


def test_a_body_that_trickles_in_is_given_up(predictor, monkeypatch) -> None:
    monkeypatch.setattr(guard, "BODY_S", 0.2)
    first = True

    async def receive() -> dict[str, object]:
        nonlocal first
        if not first:
            await asyncio.sleep(60)
        first = False
        return {"type": "http.request", "body": b"{", "more_body": True}

    sent = answered_by(build_api(Service(Settings(), base=predictor)), "/v1/analyze", receive)
    assert sent[0]["status"] == 408
    assert b"did not arrive" in sent[1]["body"]


def test_figures_count_requests_texts_and_what_is_held(client: TestClient) -> None:
    client.post("/v1/analyze", json={"texts": ["a", "b"]})
    client.post("/v1/analyze", json={"texts": []})
    client.get("/nowhere/at/all")
    client.service.sessions.get("somebody")
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }
    analyzed = (("method", "POST"), ("route", "/v1/analyze"))
    assert found[("mtl_http_requests_total", *analyzed, ("status", "200"))] == 1
    assert found[("mtl_http_requests_total", *analyzed, ("status", "422"))] == 1
    assert found["mtl_http_requests_total", ("method", "GET"), ("route", "other"), ("status", "404")] == 1
    assert found["mtl_texts_total", ("route", "/v1/analyze")] == 2
    assert found["mtl_http_request_seconds_count", ("route", "/v1/analyze")] == 2
    assert found["mtl_sessions",] == 1
    assert found["mtl_tuned_models",] == 0


def test_ready_means_that_the_model_answers_and_nobody_asked_it_to_end(client: TestClient, monkeypatch) -> None:
    assert client.get("/readyz").json() == {"status": "ready"}
    models = client.service.models
    monkeypatch.setattr(models, "answered_at", float("-inf"))
    monkeypatch.setattr(models.base, "analyze", lambda *_, **__: 1 / 0)
    assert client.get("/readyz").status_code == 503
    monkeypatch.undo()
    assert client.get("/readyz").status_code == 200
    assert client.service.close(1)
    refused = client.get("/readyz")
    assert refused.status_code == 503
    assert "about to stop" in error_of(refused)["message"]
    assert client.post("/v1/analyze", json=BODY).status_code == 503
    with pytest.raises(BusyError, match="about to stop"):
        client.service.tune("k", "default", None)
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate_limit": "often"}, "MTL_RATE_LIMIT"),
        ({"api_key": " , "}, "MTL_API_KEY"),
        ({"log_format": "xml"}, "MTL_LOG_FORMAT"),
        ({"trusted_proxies": -1}, "MTL_TRUSTED_PROXIES"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Settings(**settings)


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(Settings(api_key="hush", page_password="hush"))
