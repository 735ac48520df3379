"""Faults of a real app: nothing is lost, the log has a clear word, the service goes on, or does not start at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from mtl.settings import ROOT

sys.path.insert(0, str(Path(__file__).parent))
import visitors

pytestmark = pytest.mark.long


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def app(log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with visitors.started(log, MTL_LOG_FORMAT="json") as running:
        yield running


def answers(url: str) -> bool:
    body = {"texts": ["Maria Keller opened the new clinic in Oslo."]}
    found = httpx.post(f"{url}/api/v1/analyze", json=body, timeout=30).json()["results"][0]
    return [one["word"] for one in found["entities"]["entities"]] == ["Maria Keller", "Oslo"]


def words(log: Path) -> str:
    return log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("cut", "model.safetensors: is damaged or cut short"),
        ("heads of another", "heads.safetensors does not fit task"),
        ("no json", "mtl.json: is damaged"),
        ("absent", "heads.safetensors is missing"),
        ("a bomb", "model.safetensors: is damaged or cut short"),
    ],
)
def test_a_corrupt_checkpoint_is_refused_in_one_sentence(tmp_path: Path, fault: str, said: str) -> None:
    folder = Path(shutil.copytree(ROOT / "checkpoints" / "default", tmp_path / "checkpoint"))
    weights, heads = folder / "model.safetensors", folder / "heads.safetensors"
    if fault == "cut":
        weights.write_bytes(weights.read_bytes()[:100_000])
    elif fault == "heads of another":
        meta = json.loads((folder / "mtl.json").read_text(encoding="utf-8"))
        meta["tasks"][0]["labels"].append("one more")
        (folder / "mtl.json").write_text(json.dumps(meta), encoding="utf-8")
    elif fault == "no json":
        (folder / "mtl.json").write_text('{"format": 1, ' + "[" * 100_000, encoding="utf-8")
    elif fault == "absent":
        heads.unlink()
    else:  # a header that promises 100 GB
        header = b'{"x":{"dtype":"F32","shape":[25000000000],"data_offsets":[0,100000000000]}}'
        weights.write_bytes(len(header).to_bytes(8, "little") + header + b"\x00" * 100)
    env = {**os.environ, "MTL_CHECKPOINT": str(folder)}
    done = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, "one sentence"


def test_a_full_disk_is_said_and_afterwards_all_goes_on(tmp_path: Path, log: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a full disk is made by mounting a small one, as root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    try:
        with visitors.started(log, TMPDIR=str(disk), GRADIO_TEMP_DIR=str(disk / "gradio")) as (url, _):
            key = "somebody"
            visitors.run(trained(url, key))
            (disk / "filler").write_bytes(b"x" * (shutil.disk_usage(disk).free - 20_000))
            table = "text,label\n" + "a row of some length,good\n" * 10_000
            upload = httpx.post(f"{url}/gradio_api/upload", files={"files": ("t.csv", table)}, timeout=60)
            assert upload.status_code == 507
            assert "disk of the service is full" in upload.text
            with pytest.raises(RuntimeError, match="disk of the service is full"):
                visitors.run(event(url, "capsule", [key, "default"]))
            assert words(log).count("there is no room on the disk") == 2
            assert answers(url)
            (disk / "filler").unlink()
            assert httpx.post(f"{url}/gradio_api/upload", files={"files": ("t.csv", table)}, timeout=60).is_success
            assert "Traceback" not in words(log)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def event(url: str, name: str, values: list[object]) -> str:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        return await visitors.event(client, name, values)


async def trained(url: str, key: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await visitors.tune(client, key, steps=5)
        while "mtl_runs 0.0" not in (await client.get("/api/metrics")).text:
            time.sleep(0.2)


def raw(url: str, head: str, body: bytes = b"") -> socket.socket:
    place = urlsplit(url)
    link = socket.create_connection((place.hostname, place.port), timeout=60)
    link.sendall(f"{head}\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n".encode() + body)
    return link


def test_sockets_that_close_in_mid_stream_stop_nothing(app: tuple[str, object], log: Path) -> None:
    url, process = app
    body = json.dumps({"texts": ["a sentence of some words"] * 500}).encode()
    for _ in range(10):  # gone before the answer is there
        link = raw(url, "POST /api/v1/analyze HTTP/1.1", f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        link.close()
        link = raw(url, "POST /api/v1/analyze HTTP/1.1", f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:50])
        link.close()
    values = visitors.Form(steps=500)
    data = ["somebody", "default", *(getattr(values, name) for name in visitors.FIELDS)]
    ticket = httpx.post(f"{url}/gradio_api/call/tune", json={"data": data}, timeout=30).json()["event_id"]
    link = raw(url, f"GET /gradio_api/call/tune/{ticket} HTTP/1.1", b"\r\n")
    assert link.recv(100)
    link.close()
    assert answers(url)
    end = time.monotonic() + 60
    while "mtl_requests_waiting 0.0" not in httpx.get(f"{url}/api/metrics").text and time.monotonic() < end:
        time.sleep(0.2)
    assert "mtl_requests_waiting 0.0" in httpx.get(f"{url}/api/metrics").text
    assert "Traceback" not in words(log)
    assert process.poll() is None


def test_slow_clients_keep_nobody_waiting(app: tuple[str, object], log: Path) -> None:
    url, _ = app
    over, said = threading.Event(), []

    def trickle() -> None:
        link = raw(url, "POST /api/v1/analyze HTTP/1.1", b"Content-Length: 1000\r\n\r\n")
        try:
            while not over.wait(0.5):
                link.sendall(b" ")
        except OSError:
            pass
        said.append(link.recv(1000))
        link.close()

    threads = [threading.Thread(target=trickle) for _ in range(50)]
    for thread in threads:
        thread.start()
    big = json.dumps({"input": ["a sentence of some words"] * 1000}).encode()
    readers = [
        raw(url, "POST /api/v1/embeddings HTTP/1.1", f"Content-Length: {len(big)}\r\n\r\n".encode() + big)
        for _ in range(10)
    ]  # they never read their answer
    with visitors.health(url) as health:
        for _ in range(20):
            assert answers(url)
            time.sleep(1.2)
    assert health.failures == {}
    over.set()
    for thread in threads:
        thread.join(30)
    assert all(b" 408 " in one for one in said), said[:3]
    for link in readers:
        link.close()
    assert "Traceback" not in words(log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_finishes_what_was_begun_within_five_seconds(
    app: tuple[str, subprocess.Popen[bytes]], log: Path, number: int
) -> None:
    url, process = app
    visitors.run(started_run(url))
    found: list[int] = []

    def ask() -> None:
        body = {"texts": ["a sentence of some words"] * 600}
        found.append(httpx.post(f"{url}/api/v1/analyze", json=body, timeout=30).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    while "mtl_requests_waiting 1.0" not in httpx.get(f"{url}/api/metrics").text:
        time.sleep(0.01)
    begun = time.monotonic()
    process.send_signal(number)
    assert process.wait(10) == 0
    assert time.monotonic() - begun < 5
    asking.join(10)
    assert found == [200], "an answer that was begun came whole"
    assert '"ended; every request was answered"' in words(log)
    assert "Traceback" not in words(log)


async def started_run(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await visitors.tune(client, "somebody", steps=500, moves="Everything")
