"""Programs at the running app: what the docs show runs as it stands, and the clients of others work unchanged."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from mtl.settings import ROOT
from tests.running import run

DOCS = ROOT / "assets" / "docs" / "rest-api.md"
HERE = "http://127.0.0.1:7860"
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
LINES = re.findall(r"^curl .*?[^\\\n]$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
BLOCKS += [("bash", line) for line in LINES]
TEXTS = ["Maria Keller opened the new clinic in Oslo.", "The 🏳️‍🌈 parade in Ghent was a joy."]

pytestmark = pytest.mark.e2e


def name(block: tuple[str, str]) -> str:
    return re.sub(r"\W+", "-", next(w for w in block[1].split() if "/" in w or w in ("OpenAI", "Client", "asyncio")))[
        -40:
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=name)
def test_what_the_docs_show_runs_as_it_stands(app, block: tuple[str, str]) -> None:
    kind, text = block
    words = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-W", "error::SyntaxWarning", "-c"]}
    assert HERE in text
    done = subprocess.run(
        [*words[kind], text.replace(HERE, app.url)], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
    assert '"error"' not in done.stdout


def test_there_are_blocks_of_every_client() -> None:
    whole = "".join(text for _, text in BLOCKS)
    for part in ("curl", "openai", "gradio_client", "mcp", "/embeddings", "/analyze", "/similarity", "/readyz"):
        assert part in whole


def test_the_openai_client_gets_the_vectors_of_the_model(app) -> None:
    openai = pytest.importorskip("openai", reason="the client of OpenAI: pip install openai")
    client = openai.OpenAI(base_url=f"{app.url}/api/v1", api_key="none", max_retries=0)
    answer = client.embeddings.create(model="default", input=TEXTS, dimensions=64)
    assert [len(one.embedding) for one in answer.data] == [64, 64]
    assert sum(number**2 for number in answer.data[0].embedding) == pytest.approx(1, abs=1e-3)
    assert answer.usage.total_tokens > 20
    assert [model.id for model in client.models.list()] == ["default"]
    with pytest.raises(openai.NotFoundError, match="ask 'default'"):
        client.embeddings.create(model="gpt", input="x")
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.embeddings.create(model="default", input=[[1, 2, 3]])
    assert refused.value.param == "input[0]"


def test_a_gradio_client_and_rest_say_the_same(app) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(app.url, verbose=False)
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert sorted(named) == ["/analyze", "/classify", "/embed", "/entities", "/similarity", "/tasks"]
    found = client.predict(TEXTS, api_name="/entities")
    body = json.dumps({"texts": TEXTS}).encode()
    ask = urllib.request.Request(f"{app.url}/api/v1/entities", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(ask, timeout=60) as answer:
        rest = json.load(answer)["results"]
    for text, ours, theirs in zip(TEXTS, found, rest, strict=True):
        spans = [(one["start"], one["end"], one["entity_group"]) for one in theirs["entities"]["entities"]]
        assert [(one["start"], one["end"], one["entity_group"]) for one in ours] == spans
        assert all(text[start:end] == one["word"] for (start, end, _), one in zip(spans, ours, strict=True))
    assert [one["word"] for one in found[0]] == ["Maria Keller", "Oslo"]
    assert "Ghent" in [one["word"] for one in found[1]]
    with pytest.raises(Exception, match="texts is empty; send at least one text"):
        client.predict([], api_name="/embed")


def test_an_mcp_client_finds_six_tools_that_answer(app) -> None:
    mcp = pytest.importorskip("mcp")
    from mcp.client.streamable_http import streamablehttp_client

    async def ask() -> tuple[list[object], object, object]:
        async with (
            streamablehttp_client(f"{app.url}/gradio_api/mcp/") as (reads, writes, _),
            mcp.ClientSession(reads, writes) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            good = await session.call_tool("similarity", {"left": [TEXTS[0]], "right": TEXTS})
            bad = await session.call_tool("embed", {"texts": [" "]})
            return tools, good, bad

    tools, good, bad = run(ask())
    assert sorted(tool.name for tool in tools) == ["analyze", "classify", "embed", "entities", "similarity", "tasks"]
    assert all(tool.description and "Args" not in tool.description for tool in tools)
    (row,) = json.loads(good.content[0].text)
    assert row[0] == pytest.approx(1, abs=1e-3)
    assert row[1] < 0.6
    assert bad.isError
    assert "texts[0] is empty" in bad.content[0].text


def event(app, name: str, *values: object) -> str:
    body = json.dumps({"data": values}).encode()
    ask = urllib.request.Request(f"{app.url}/gradio_api/call/{name}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(ask, timeout=60) as answer:
        ticket = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{app.url}/gradio_api/call/{name}/{ticket}", timeout=60) as stream:
        return stream.read().decode()


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/app/requirements.txt", str(ROOT / "README.md"), "app.py", "../x.csv", "http://1.2.3.4/x.csv"],
)
def test_no_path_from_outside_is_opened(app, path: str) -> None:
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    said = event(app, "batch", "somebody", "default", file, None)
    assert "event: error" in said
    assert "root:" not in said
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{app.url}/gradio_api/file={path}", timeout=60)
    assert refused.value.code == (404 if "://" in path else 403)


@pytest.mark.parametrize(
    ("path", "size"), [("call/read", 10_000_001), ("queue/join", 10_000_001), ("upload", 130_000_001)]
)
def test_a_body_of_the_page_beyond_the_limit_is_refused_before_it_is_sent(app, path: str, size: int) -> None:
    link = http.client.HTTPConnection(app.url.removeprefix("http://"), timeout=60)
    link.putrequest("POST", f"/gradio_api/{path}")
    link.putheader("Content-Type", "application/json")
    link.putheader("Content-Length", str(size))
    link.endheaders()
    assert link.getresponse().status == 413
    link.close()


def test_a_body_that_does_not_say_its_size_is_refused_too(app) -> None:
    link = http.client.HTTPConnection(app.url.removeprefix("http://"), timeout=60)
    parts = (b"x" * 1_000_000 for _ in range(11))
    with suppress(ConnectionError):  # the app need not read the rest
        link.request("POST", "/gradio_api/call/read", parts, {"Content-Type": "application/json"}, encode_chunked=True)
        assert link.getresponse().status in (400, 413)
    link.close()
    assert "event: complete" in event(app, "read", "somebody", "default", "a sentence", 0.5, [])


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_the_api_beyond_its_limit_has_the_shape_of_all_its_errors(app, declared: bool) -> None:
    link = http.client.HTTPConnection(app.url.removeprefix("http://"), timeout=60)
    if declared:
        link.putrequest("POST", "/api/v1/analyze")
        link.putheader("Content-Type", "application/json")
        link.putheader("Content-Length", "10000001")
        link.endheaders()
    else:
        head = f"POST /api/v1/analyze HTTP/1.1\r\nHost: {link.host}\r\nTransfer-Encoding: chunked\r\n\r\n"
        link.connect()
        link.sock.sendall(head.encode())
        with suppress(ConnectionError):  # the app need not read the rest
            for _ in range(11):
                link.sock.sendall(b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n")
    answer = http.client.HTTPResponse(link.sock)
    answer.begin()
    assert answer.status == 413
    error = json.loads(answer.read())["error"]
    assert error["code"] == "content_too_large"
    assert error["request_id"] == answer.headers["x-request-id"]
    link.close()


def test_the_page_of_the_api_is_drawn_and_asks_nobody_else(app, browser) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{app.url}/api/docs")
    page.get_by_text("/v1/embeddings", exact=True).first.wait_for()
    assert all(url.startswith((app.url, "data:")) for url in asked)
    context.close()
