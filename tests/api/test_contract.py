"""The OpenAPI document is true: schemathesis asks whatever it allows and forbids, of a server over a real socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from mtl.api.app import build_api
from mtl.service.service import Service
from mtl.settings import Settings


def served(api: object) -> Iterator[str]:
    """The address of an app that runs in a thread of this process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(api, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(params=["", "key"])
def address(request: pytest.FixtureRequest, predictor) -> Iterator[tuple[str, str]]:
    service = Service(Settings(api_key=request.param, max_characters=300, max_texts=20), base=predictor)
    for url in served(build_api(service)):
        yield url, request.param


def ask_everything(url: str, key: str, where: Path, n_examples: int) -> None:
    pytest.importorskip("schemathesis", reason="the contract is tried by schemathesis: pip install schemathesis")
    command = Path(sys.executable).with_name("schemathesis")
    program = str(command) if command.is_file() else shutil.which("schemathesis")
    options = ["--checks", "all", "--max-examples", str(n_examples), "--seed", "1", "--no-color"]
    headers = ["-H", f"Authorization: Bearer {key}"] if key else []
    done = subprocess.run(
        [program, "run", f"{url}/openapi.json", *options, *headers], cwd=where, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested: 10" in done.stdout


def test_schemathesis_finds_nothing(address: tuple[str, str], tmp_path: Path) -> None:
    ask_everything(*address, tmp_path, 20)


@pytest.mark.long
def test_schemathesis_finds_nothing_for_long(address: tuple[str, str], tmp_path: Path) -> None:
    ask_everything(*address, tmp_path, 1000)


def test_the_document_has_the_limits_the_tasks_and_examples(make_client) -> None:
    client: TestClient = make_client(max_characters=123, max_texts=7)
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    texts = schemas["AnalyzeRequest"]["properties"]["texts"]
    assert (texts["maxItems"], texts["items"]["maxLength"]) == (7, 123)
    assert texts["examples"]
    assert schemas["AnalyzeRequest"]["properties"]["tasks"]["anyOf"][0]["items"]["enum"] == ["topic", "entities"]
    assert schemas["ClassifyTextsRequest"]["properties"]["tasks"]["anyOf"][0]["items"]["enum"] == ["topic"]
    assert schemas["EmbeddingRequest"]["properties"]["dimensions"]["anyOf"][0]["maximum"] == 32
    for path, methods in document["paths"].items():
        for method in methods.values():
            assert method["description"], path
            if path.startswith("/v1/"):
                assert {"200", "401", "413", "422", "429", "503"} <= set(method["responses"])


def test_the_page_of_the_document_asks_no_other_host(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "http://" not in page.replace("http://testserver", "")
    assert "https://" not in page
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"
