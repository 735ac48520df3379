"""The log as machines read it: one object a line, with what belongs to it, and nothing of what others blurt out."""

from __future__ import annotations

import json
import subprocess
import sys

from mtl.settings import ROOT

SCRIPT = """
import logging, sys
from mtl.service.logs import adopt, write_logs
noisy = logging.getLogger("uvicorn")
noisy.addHandler(logging.StreamHandler(sys.stdout))
noisy.propagate = False
write_logs(sys.argv[1])
adopt("uvicorn")
logging.getLogger("mtl.api").info("GET /x 200 %d ms", 3, extra={"request_id": "abc", "ms": 2.5})
logging.getLogger().warning("Failed to validate request: ['Zebras whisper']")
logging.getLogger("mtl.api").debug("too much")
noisy.error("it fell over")
"""


def written(form: str) -> list[str]:
    words = [sys.executable, "-c", SCRIPT, form]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_each_line_is_an_object_with_its_request() -> None:
    first, second = (json.loads(line) for line in written("json"))
    assert (first["level"], first["logger"], first["message"]) == ("INFO", "mtl.api", "GET /x 200 3 ms")
    assert (first["request_id"], first["ms"]) == ("abc", 2.5)
    assert first["timestamp"].endswith("+00:00")
    assert (second["logger"], second["message"]) == ("uvicorn", "it fell over")


def test_people_read_plain_lines() -> None:
    first, second = written("text")
    assert first.endswith("INFO mtl.api GET /x 200 3 ms")
    assert second.endswith("ERROR uvicorn it fell over")
