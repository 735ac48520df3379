"""A tuned model can be taken away whole: it loads, and says how it came about."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import mtl
from mtl.errors import SessionError
from mtl.service.models import BASE
from mtl.service.recording import from_json
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest
from mtl.settings import Settings


def test_the_zip_holds_a_checkpoint_that_answers_the_same_and_its_story(predictor, tmp_path: Path) -> None:
    service = Service(Settings(max_steps=40), base=predictor)
    table = tmp_path / "rows.csv"
    rows = [f"{word} {i},{word}" for i in range(8) for word in ("yes", "no")]
    table.write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    run = service.tune("k", BASE, TuneRequest(path=table, heads={"classification": "answer"}, steps=6))
    run.join(60)
    assert run.state == "ended", run.error
    path = service.capsule("k", "tuned 1")
    assert path.name == "tuned-1.zip"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
    model = mtl.load(tmp_path / "out" / "model", precision="fp32")
    wanted = service.models.get("k", "tuned 1")
    np.testing.assert_allclose(model.encode(["yes 3"]), wanted.encode(["yes 3"]), atol=2e-3)
    assert {task.name for task in model.tasks} == {"topic", "entities", "similarity", "answer"}
    assert model.analyze(["yes 3"])[0]["answer"].label == wanted.analyze(["yes 3"])[0]["answer"].label
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert (settings["path"], settings["steps"], len(settings["rows_sha256"])) == ("rows.csv", 6, 64)
    assert len(from_json((tmp_path / "out" / "run.jsonl").read_text()).steps) == 6
    shifts = json.loads((tmp_path / "out" / "drift.json").read_text())["shifts"]
    assert [shift["after"] for shift in shifts[:2]] == [1, 1], "the encoder and the old heads were frozen"
    assert "answer" in (tmp_path / "out" / "README.md").read_text()
    assert not any(str(tmp_path) in (tmp_path / "out" / n).read_text() for n in ("settings.json", "run.jsonl"))
    with pytest.raises(SessionError, match="Only a model that you tuned"):
        service.capsule("k", BASE)
    with pytest.raises(SessionError, match="Only a model that you tuned"):
        service.capsule("other", "tuned 1")
