"""Visitors of a running app, programs and pages alike, as the benchmarks under load send them. Only to this machine."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mtl.ui.finetune_form import FIELDS, Form  # noqa: E402
from tests.running import run, started  # noqa: E402, F401

SENTENCES = (ROOT / "assets" / "samples" / "sentences.csv").read_text(encoding="utf-8").splitlines()[1:]
LATER = (429, 503)


@dataclass
class Tally:
    """What visitors saw: seconds by kind of request, answers that say "later", and failures with their reason."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    later: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, seconds: float) -> None:
        self.seconds.setdefault(kind, []).append(seconds)

    @property
    def n(self) -> int:
        return sum(map(len, self.seconds.values())) + self.later + sum(self.failures.values())

    def told(self) -> dict[str, object]:
        """As plain values; times in milliseconds."""
        times = {
            kind: {"n": len(found), "p50_ms": ms(found, 0.5), "p95_ms": ms(found, 0.95), "max_ms": ms(found, 1.0)}
            for kind, found in sorted(self.seconds.items())
        }
        return {"requests": self.n, "later": self.later, "failures": dict(self.failures), "times": times}


def ms(found: list[float], share: float) -> float:
    """A quantile in milliseconds."""
    return round(1000 * sorted(found)[min(len(found) - 1, int(share * len(found)))], 1)


def texts(rng: random.Random, most: int) -> list[str]:
    return [rng.choice(SENTENCES)[:500] for _ in range(rng.randint(1, most))]


async def program(client: httpx.AsyncClient, rng: random.Random, tally: Tally) -> None:
    """One request of a program."""
    kind = rng.choice(("embeddings", "embeddings", "analyze", "classify", "entities", "similarity"))
    body: dict[str, object] = {"texts": texts(rng, 8)}
    if kind == "embeddings":
        body = {"input": texts(rng, 16), "encoding_format": rng.choice(("float", "base64"))}
    if kind == "similarity":
        body = {"left": texts(rng, 4), "right": texts(rng, 8)}
    begun = time.perf_counter()
    answer = await client.post(f"/api/v1/{kind}", json=body)
    if answer.status_code in LATER and "retry-after" in answer.headers:
        tally.later += 1
    elif answer.status_code != 200:
        tally.failures[f"{kind}: {answer.status_code} {answer.text[:200]}"] += 1
    else:
        tally.add(f"REST {kind}", time.perf_counter() - begun)


async def event(client: httpx.AsyncClient, name: str, values: list[object]) -> str:
    """An event of the page and all that it answers, to its end.

    Raises:
        RuntimeError: where it ends with an error.
    """
    ticket = (await client.post(f"/gradio_api/call/{name}", json={"data": values})).raise_for_status().json()
    async with client.stream("GET", f"/gradio_api/call/{name}/{ticket['event_id']}") as stream:
        said = (await stream.aread()).decode()
    if "event: error" in said:
        raise RuntimeError(f"{name}: {said[-300:]}")
    return said


async def page(client: httpx.AsyncClient, rng: random.Random, tally: Tally, key: str) -> None:
    """One thing that a person does on the page."""
    kind = rng.choice(("open", "read", "read", "compare", "search"))
    left, right = rng.choice(SENTENCES)[:300], rng.choice(SENTENCES)[:300]
    values: dict[str, list[object]] = {
        "read": [key, "default", left, 0.5, ["PER", "ORG", "LOC"]],
        "compare": [key, "default", left, right],
    }
    begun = time.perf_counter()
    try:
        if kind == "open":
            (await client.get("/")).raise_for_status()
        elif kind == "search":
            await event(client, "entities", [[left]])
        else:
            await event(client, kind, values[kind])
    except (httpx.HTTPError, RuntimeError) as error:
        tally.failures[f"page {kind}: {type(error).__name__} {str(error)[:200]}"] += 1
    else:
        tally.add(f"page {kind}", time.perf_counter() - begun)


async def tune(client: httpx.AsyncClient, key: str, **form: object) -> str:
    """Starts a fine-tuning run on the sample; what its first answer says."""
    values = Form(**form)  # type: ignore[arg-type]
    return await event(client, "tune", [key, "default", *(getattr(values, name) for name in FIELDS)])


@contextmanager
def health(url: str, every_s: float = 0.1) -> Iterator[Tally]:
    """Asks whether the app lives and is ready, from a thread of its own, as a load balancer does."""
    tally, over = Tally(), threading.Event()
    host = urlsplit(url).netloc

    def look() -> None:
        while not over.wait(every_s):
            for path in ("/api/healthz", "/api/readyz"):
                begun = time.perf_counter()
                try:
                    link = HTTPConnection(host, timeout=10)
                    link.request("GET", path)
                    status = link.getresponse().status
                    link.close()
                except OSError as error:
                    tally.failures[f"{path}: {error}"] += 1
                else:
                    if status == 200:
                        tally.add(path, time.perf_counter() - begun)
                    else:
                        tally.failures[f"{path}: {status}"] += 1

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield tally
    finally:
        over.set()
        thread.join(20)


def memory(process: subprocess.Popen[bytes]) -> int:
    """Bytes that a process holds."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def machine() -> dict[str, object]:
    """Where figures come from."""
    import platform

    import torch

    names = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    model = names[0].split(":")[1].strip() if names else platform.processor()
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__}


def write(name: str, found: dict[str, object]) -> None:
    """Keeps figures where the docs read them."""
    path = ROOT / "assets" / "results" / name
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{json.dumps(found, indent=1)}\n{path}\n")
