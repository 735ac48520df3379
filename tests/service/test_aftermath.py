"""What a run did: tested again on the samples, shown on the rows that were asked for, and on one map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mtl.errors import DataError, SessionError
from mtl.service.aftermath import Guard, Moved, place
from mtl.service.models import BASE
from mtl.service.replay import Replay
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest, read_data
from mtl.settings import Settings
from mtl.training.config import FreezePolicy
from mtl.types import Span


@pytest.fixture
def service(predictor) -> Service:
    return Service(Settings(max_steps=80), base=predictor)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    rows = [f"{word} {i},{word}" for i in range(10) for word in ("yes", "no")]
    path.write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    return path


def test_corrections_are_all_learned_from_and_shown_right(service: Service) -> None:
    wanted = {"topic": "law", "entities": (Span(0, 3, "PER"),)}
    for text in ("Ann reads", "Bob eats"):
        service.labelling.correct("k", BASE, text, wanted)
    heads = {"classification": "topic", "ner": "entities"}
    path = service.labelling.corrections_table("k", heads)
    request = TuneRequest(path=path, heads=heads, held=False, steps=80, head_lr=2e-2, replay=False)
    run = service.tune("k", BASE, request)
    run.join(60)
    assert run.state == "ended", run.error
    assert run.evaluations == []
    asked = service.tuned("k", "tuned 1").aftermath.asked
    assert [(one.text, one.task, one.asked) for one in asked] == [
        ("Ann reads", "topic", "law"),
        ("Ann reads", "entities", "Ann (PER)"),
        ("Bob eats", "topic", "law"),
        ("Bob eats", "entities", "Bob (PER)"),
    ]
    assert all(one.right for one in asked)
    said = service.models.base.analyze(["Ann reads"])[0]["topic"].label
    assert asked[0].before == said
    assert any(shift.after < 1 for shift in service.tuned("k", "tuned 1").aftermath.drift.shifts), "it cost nothing"


def test_one_correction_is_enough(service: Service) -> None:
    service.labelling.correct("k", BASE, "Ann reads", {"topic": "law"})
    path = service.labelling.corrections_table("k", {"classification": "topic"})
    run = service.tune("k", BASE, TuneRequest(path=path, heads={"classification": "topic"}, held=False, steps=5))
    run.join(60)
    assert run.state == "ended", run.error
    assert {source for step in run.steps for source in step.source.split(" + ")} == {"your data", "replay topic"}


def test_a_map_before_and_after_is_there_where_the_encoder_moved(service: Service, table: Path) -> None:
    frozen = TuneRequest(path=table, heads={"classification": "mood"}, steps=3)
    moving = TuneRequest(path=table, heads={"classification": "mood"}, steps=6, freeze=FreezePolicy(), encoder_lr=1e-2)
    for request in (frozen, moving):
        run = service.tune("k", BASE, request)
        run.join(60)
        assert run.state == "ended", run.error
    with pytest.raises(SessionError, match="no sentence moved"):
        service.moved("k", "tuned 1")
    with pytest.raises(SessionError, match="Train a model first"):
        service.moved("other", "tuned 2")
    found = service.moved("k", "tuned 2")
    assert found.before.shape == found.after.shape == (len(found.moved.texts), 2)
    assert {"yes", "no", ""} == set(found.moved.groups)
    np.testing.assert_allclose(
        found.moved.after[0], service.models.get("k", "tuned 2").encode(found.moved.texts[:1])[0], atol=1e-6
    )
    assert np.abs(found.moved.before - found.moved.after).max() > 1e-3


def test_what_did_not_move_stays_where_it_is_on_the_map() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    after = vectors.copy()
    after[:10] = vectors[10:20]
    found = place(Moved(tuple(map(str, range(40))), ("",) * 40, vectors, after))
    np.testing.assert_array_equal(found.before[10:], found.after[10:])
    np.testing.assert_array_equal(found.after[:10], found.before[10:20])


def test_the_old_answers_are_asked_once_and_not_again_where_no_weight_moved(
    service: Service, table, monkeypatch
) -> None:
    guard = Guard(service.corpora)
    base = service.models.base
    assert guard.known(base) is guard.known(base)
    data = read_data(
        base,
        TuneRequest(path=table, heads={"classification": "mood"}),
        service.settings,
        Replay(service.settings.samples),
    )
    copy = base.copy()
    monkeypatch.setattr(type(copy), "analyze", lambda *_: pytest.fail("read again"))
    found = guard.aftermath(base, copy, data)
    assert found.moved is None
    assert found.drift.flips == ()
    assert {shift.before - shift.after for shift in found.drift.shifts} == {0.0}


def test_settings_name_the_model_that_a_run_went_on_from(service: Service, table: Path) -> None:
    request = TuneRequest(path=table, heads={"classification": "mood"}, steps=3)
    service.tune("k", BASE, request).join(60)
    service.tune("k", "tuned 1", request).join(60)
    tuned = service.tuned("k", "tuned 2")
    assert tuned.settings["started_from"] == "tuned 1"
    assert tuned.equivalent.recipe.startswith("encoder: tuned-1/model\n")
    meta = service.models.get("k", "tuned 2").meta["provenance"]
    assert json.loads(json.dumps(meta))["tuned"]["path"] == "rows.csv"


def test_the_guard_reads_nothing_that_is_replayed_and_the_model_is_there_whatever_it_says(
    service: Service, table: Path, monkeypatch
) -> None:
    assert set(service.guard.texts).isdisjoint(service.replay.texts)
    monkeypatch.setattr(service.guard, "aftermath", lambda *_: (_ for _ in ()).throw(DataError("no samples")))
    run = service.tune("k", BASE, TuneRequest(path=table, heads={"classification": "mood"}, steps=3))
    run.join(60)
    assert run.state == "failed"
    assert service.labelling.analyze("k", "tuned 1", "yes")["mood"].label in ("yes", "no")


def test_what_is_known_of_a_model_goes_with_it(predictor, table: Path) -> None:
    service = Service(Settings(max_models=1), base=predictor)
    for _ in range(2):
        run = service.tune("k", BASE, TuneRequest(path=table, heads={"classification": "mood"}, steps=3))
        run.join(60)
    assert set(service.sessions.get("k").tuned) == set(service.sessions.get("k").models) == {"tuned 2"}


def test_corrections_are_written_once_until_they_change(service: Service) -> None:
    service.labelling.correct("k", BASE, "Ann reads", {"topic": "law"})
    heads = {"classification": "topic"}
    first = service.labelling.corrections_table("k", heads)
    assert service.labelling.corrections_table("k", heads) == first
    service.labelling.correct("k", BASE, "Bob eats", {"topic": "food"})
    second = service.labelling.corrections_table("k", heads)
    assert second != first
    assert first.is_file(), "a run may still read it"
