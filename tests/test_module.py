"""`python -m mtl` as a process of its own: its exit code, and what lands on which stream."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mtl.inference.predictor import Predictor
from mtl.settings import ROOT


@pytest.fixture
def folder(predictor: Predictor, tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text(
        '{"text": "the cat", "spans": []}\n{"text": "in Rome", "spans": [{"start": 3, "end": 7, "label": "LOC"}]}\n',
        encoding="utf-8",
    )
    return predictor.save(tmp_path / "model")


def call(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mtl", *(str(word) for word in words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_stdout_holds_one_object_and_nothing_else(folder: Path) -> None:
    done = call("evaluate", folder, "--task", "entities", "--data", folder.parent / "rows.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert list(found) == ["task", "kind", "examples", "metrics"]
    assert (found["task"], found["kind"], found["examples"]) == ("entities", "ner", 2)
    assert list(found["metrics"]) == ["precision", "recall", "f1"]


def test_an_error_is_on_stderr_and_the_code_is_2(tmp_path: Path) -> None:
    done = call("evaluate", tmp_path / "none", "--task", "topic", "--data", tmp_path / "rows.jsonl", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'none'}: no such folder; give the folder of an mtl checkpoint\n"


def test_help_names_every_command() -> None:
    done = call("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("train", "evaluate", "predict", "embed"))
