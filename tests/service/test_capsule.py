"""A tuned model can be taken away whole: it loads, and says how it came about."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import mtl
from mtl.errors import SessionError
from mtl.service.capsule import read_request
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
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "answer" in readme
    assert "| answer | accuracy |" in readme
    assert "python -m mtl train run/recipe.yaml" in readme
    assert "| answer | classification |" in (tmp_path / "out" / "model" / "README.md").read_text(), "a card of its own"
    lines = (tmp_path / "out" / "curves.csv").read_text().splitlines()
    assert lines[0] == "step,kind,task,value"
    assert len([line for line in lines if ",loss,answer," in line]) == 6
    request = read_request(path)
    assert (request.path.name, request.steps, request.heads) == ("rows.csv", 6, {"classification": "answer"})
    assert request.freeze == TuneRequest(path=table, heads={}).freeze
    assert not any(str(tmp_path) in (tmp_path / "out" / n).read_text() for n in ("settings.json", "run.jsonl"))
    with pytest.raises(SessionError, match="Only a model that you tuned"):
        service.capsule("k", BASE)
    with pytest.raises(SessionError, match="Only a model that you tuned"):
        service.capsule("other", "tuned 1")


def _zip(path: Path, name: str, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: _zip(folder / "a.zip", "other.txt", "x"),
        lambda folder: _zip(folder / "a.zip", "settings.json", "[1]"),
        lambda folder: _zip(folder / "a.zip", "settings.json", "[" * 5000),
        lambda folder: _zip(folder / "a.ZIP", "settings.json", "{}"),
        lambda folder: _zip(folder / "a.zip", "settings.json", '{"path": "x", "heads": {}, "steps": "many"}'),
        lambda folder: _zip(folder / "a.zip", "settings.json", '{"path": "x", "heads": {}, "replay_weight": -1}'),
    ],
)
def test_what_is_no_capsule_gets_one_sentence(tmp_path: Path, make) -> None:
    with pytest.raises(SessionError, match="choose a zip of this page"):
        read_request(make(tmp_path))


def test_a_zip_cannot_hide_how_long_its_list_of_files_is(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("settings.json", "{}")
        for number in range(3000):
            archive.writestr(str(number), "")
    whole = bytearray(path.read_bytes())
    whole[-6:-2] = b"PK\x05\x06"  # the place of the list, which zipfile corrects by itself
    path.write_bytes(whole)
    assert len(zipfile.ZipFile(path).namelist()) == 3001
    with pytest.raises(SessionError, match="choose a zip of this page"):
        read_request(path)
    path.write_bytes(bytes(_zip(path, "settings.json", "{}").read_bytes()[:-2]) + b"\x04\x00word")
    with pytest.raises(SessionError, match="choose a zip of this page"):
        read_request(path)


def test_a_damaged_zip_gets_one_sentence(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", "settings.json", '{"path": "x"}' * 50)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"path"', b'"pith"', 3))
    with pytest.raises(SessionError, match="choose a zip of this page"):
        read_request(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SessionError, match="choose a zip of this page"):
        read_request(path)
