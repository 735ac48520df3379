"""The app of this tree in a process of its own, as people start it; for benchmarks and end-to-end tests."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MTL_TEST_DATA", ROOT.parent / "shared" / "data"))
"""The data sets of default.yaml, for tests that want them; see assets/docs/data-sets.md."""
T = TypeVar("T")


@contextmanager
def started(log: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The app on a free port: its address and its process, as soon as it is ready; ended by SIGTERM.

    Raises:
        RuntimeError: where it ends at its start, with what it wrote, or is not ready within two minutes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = {"GRADIO_SERVER_PORT": str(port), "GRADIO_NUM_PORTS": "1", "HF_HUB_OFFLINE": "1"}
    env = {**os.environ, **ours, **environment}
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=env, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        _until_ready(url, process, log)
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_ready(url: str, process: subprocess.Popen[bytes], log: Path, within_s: float = 120) -> None:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"app.py ended with {process.returncode}:\n{log.read_text(encoding='utf-8')}")
        try:
            with urllib.request.urlopen(f"{url}/api/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"app.py was not ready within {within_s:.0f} seconds")


def run(job: Coroutine[object, object, T], within_s: float = 300) -> T:
    """Runs a coroutine, in a thread: playwright has its own loop in the one of the tests."""
    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(asyncio.run, job).result(within_s)
