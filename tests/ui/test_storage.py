"""What strangers send to the page is bounded, and what they leave half done is deleted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from gradio.data_classes import PredictBody
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from mtl.ui import storage
from tests.running import run


async def measure(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that says how many bytes came."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


@pytest.fixture
def client() -> TestClient:
    return TestClient(storage.PageGate(measure, most=1000))


def parts(n: int, size: int) -> Iterator[bytes]:
    return iter([b"x" * size] * n)


@pytest.mark.parametrize("path", ["/gradio_api/call/read", "/gradio_api/queue/join", "/"])
def test_a_body_is_read_up_to_the_limit_declared_or_not(client: TestClient, path: str) -> None:
    assert client.post(path, content=parts(2, 500)).text == "1000"
    for content in (b"x" * 1001, parts(3, 500)):
        refused = client.post(path, content=content)
        assert refused.status_code == 413
        assert refused.json() == {"detail": "More than 1,000 bytes, which is the limit."}


@pytest.mark.parametrize("path", ["file=http://a.example/x", "file=https:/a.example", "proxy=https://a.hf.space/x"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_address_is_fetched_for_others(client: TestClient, path: str, method: str) -> None:
    assert client.request(method, f"/gradio_api/{path}").status_code == 404
    assert client.request(method, "/gradio_api/file=/tmp/http:x").status_code == 200


def test_what_goes_to_the_api_is_its_own_affair(client: TestClient) -> None:
    assert client.post("/api/v1/analyze", content=parts(3, 500)).text == "1500"


def test_an_upload_is_larger_and_ends_where_the_disk_is_full(client: TestClient, monkeypatch, caplog) -> None:
    assert client.post(storage.UPLOAD, content=parts(4, 500)).text == "2000"
    monkeypatch.setattr(storage, "LOOK_BYTES", 1000)
    free, taken, sent = iter([True, False]), [], []
    monkeypatch.setattr(storage, "_has_room", lambda: next(free))

    async def receive() -> dict[str, object]:
        taken.append(500)
        return {"type": "http.request", "body": b"x" * 500, "more_body": True}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": storage.UPLOAD, "headers": []}
    run(storage.PageGate(measure, most=1000)(scope, receive, send))
    assert sum(taken) == 1500, "looked at the beginning and after a thousand bytes"
    assert sent[0]["status"] == 507
    assert b"disk of the service is full" in sent[1]["body"]
    assert "no room on the disk" in caplog.text


def test_an_upload_that_was_broken_off_is_deleted_and_no_other_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    long_ago = time.time() - 1000
    for name in ("tmpbroken", "tmprunning", "kept"):
        (tmp_path / name).write_text("x", encoding="utf-8")
        if name != "tmprunning":
            os.utime(tmp_path / name, (long_ago, long_ago))
    (tmp_path / "tmpfolder").mkdir()
    os.utime(tmp_path / "tmpfolder", (long_ago, long_ago))
    assert storage.sweep_uploads() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "tmpfolder", "tmprunning"]


@pytest.mark.parametrize("field", [gr.File, gr.Textbox, gr.Dropdown, gr.HighlightedText, gr.State])
def test_no_field_fetches_an_address(field: type[gr.blocks.Block], tmp_path: Path, monkeypatch) -> None:
    asked: list[str] = []

    async def fetch(url: str, **_: object) -> str:
        asked.append(url)
        return str(tmp_path / "fetched")

    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", fetch)
    storage.narrow_gradio()
    with pytest.raises(gr.Error, match="addresses are not fetched"):
        run(field().async_move_resource_to_block_cache("https://example.com/x.csv"))
    assert asked == []
    table = tmp_path / "t.csv"
    table.write_text("text", encoding="utf-8")
    moved = run(field().async_move_resource_to_block_cache(table))
    assert Path(moved).read_text(encoding="utf-8") == "text"


def test_the_number_of_a_page_is_short() -> None:
    storage.narrow_gradio()
    assert PredictBody(data=[], session_hash="x" * 64).session_hash == "x" * 64
    with pytest.raises(ValidationError, match="at most 64 characters"):
        PredictBody(data=[], session_hash="x" * 65)
