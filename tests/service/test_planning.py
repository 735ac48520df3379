"""What is said before a run is what the run then does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mtl.errors import DataError, MtlError, SessionError
from mtl.service import planning
from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest
from mtl.settings import Settings
from mtl.training import freezing
from mtl.training.config import Balancing, FreezePolicy, LoRA


@pytest.fixture
def service(predictor) -> Service:
    return Service(Settings(max_steps=40, max_characters=2000), base=predictor)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        f'{{"text": "the cat {i} is in Rome", "label": "{"law" if i % 2 else "food"}", '
        f'"spans": [{{"start": {len(str(i)) + 15}, "end": {len(str(i)) + 19}, "label": "LOC"}}]}}'
        for i in range(10)
    ]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


REQUEST = {"heads": {"classification": "topic", "ner": "entities"}}


@pytest.mark.parametrize(
    "policy",
    [
        FreezePolicy(encoder=True),
        FreezePolicy(),
        FreezePolicy(embeddings=True, layers=1, heads=("topic",)),
        FreezePolicy(everything=True),
        FreezePolicy(gradual=0.2),
    ],
    ids=lambda policy: policy.describe(),
)
def test_counts_and_warnings_are_those_of_the_run(service: Service, policy: FreezePolicy) -> None:
    plan = planning.network(service.models.base, policy, ["topic"])
    copy = service.models.base.copy()
    freezing.apply(copy.model, policy)
    assert {part.name: part.learning for part in plan.parts} == freezing.trainable_counts(copy.model, policy, {"topic"})
    assert {part.name: part.parameters for part in plan.parts} == freezing.total_counts(copy.model)
    assert plan.warnings == freezing.warnings(copy.model, {"topic"})
    assert all(parameter.requires_grad for parameter in service.models.base.model.parameters()), "only looked at"
    if policy.gradual:
        assert [part.joins for part in plan.parts[:3]] == pytest.approx([0.6, 0.4, 0.2])


def test_adapters_are_counted_as_they_will_be(service: Service) -> None:
    pytest.importorskip("peft", reason="adapters need peft")
    from mtl.training import lora

    policy = FreezePolicy(layers=1, lora=LoRA(rank=4))
    plan = planning.network(service.models.base, policy, ["topic"])
    copy = service.models.base.copy()
    lora.inject(copy.model, policy, LoRA(rank=4))
    freezing.apply(copy.model, policy)
    assert {part.name: part.learning for part in plan.parts} == freezing.trainable_counts(copy.model, policy, {"topic"})


def test_the_data_is_shown_as_the_model_is_taught_it(service: Service, table: Path) -> None:
    found = service.preview("k", BASE, TuneRequest(path=table, **REQUEST)).data
    assert (found.learning, found.held, found.cut) == (8, 2, 0)
    assert found.labels == {"topic": {"food": 5, "law": 5}, "entities": {"LOC": 10}}
    row = found.first[0]
    assert row.labels["topic"] in ("food", "law")
    tagged = [(token.text, token.tag) for token in row.tokens if token.tag is not None]
    assert tagged[0] == ("the", "O")
    assert [tag for _, tag in tagged].count("B-LOC") == 1
    assert row.tokens[0].tag is None, "the mark of the beginning is ignored"
    spelled = [token.text for token in row.tokens if token.text]
    assert "".join(spelled).endswith("Rome")


def test_rows_that_are_cut_are_counted(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text,label\n" + "\n".join(f"{'a ' * 60}{i},food" for i in range(4)), encoding="utf-8")
    request = TuneRequest(path=path, heads={"classification": "topic"})
    found = service.preview("k", BASE, request).data
    assert found.cut == 4
    assert found.first[0].cut_at is not None
    with pytest.raises(DataError, match="needs a column 'spans'"):
        service.preview("k", BASE, TuneRequest(path=path, heads={"ner": "entities"}))


def test_a_step_is_measured_on_a_copy_and_never_beside_a_run(service: Service, table: Path) -> None:
    before = {name: value.clone() for name, value in service.models.base.model.state_dict().items()}
    request = TuneRequest(path=table, freeze=FreezePolicy(), steps=40, **REQUEST)
    cost = service.measure("k", BASE, request)
    assert 0 < cost.ms < 60_000
    assert cost.seconds == pytest.approx(cost.ms * 40 / 1000)
    frozen = service.measure("k", BASE, replace(request, freeze=FreezePolicy(encoder=True), heads={"ner": "things"}))
    assert frozen.seconds == pytest.approx(frozen.ms / 1000), "8 rows are one batch, which goes through once"
    with pytest.raises(SessionError, match="Nothing would learn"):
        service.measure("k", BASE, replace(request, freeze=FreezePolicy(everything=True)))
    assert all((service.models.base.model.state_dict()[name] == value).all() for name, value in before.items())
    run = service.tune("k", BASE, request)
    with pytest.raises(SessionError, match="A run trains at the moment"):
        service.measure("k", BASE, request)
    service.stop("k")
    run.join(60)
    assert set(service.runs("k")) == {"tuned 1"}


def test_the_mix_is_what_the_run_then_draws(service: Service, table: Path) -> None:
    request = TuneRequest(
        path=table, freeze=FreezePolicy(), steps=30, replay_weight=1.0, heads={"classification": "mood"}
    )
    found = service.preview("k", BASE, request).mix
    assert [one.source for one in found.sources] == ["your data", "replay topic", "replay entities"]
    assert [one.batches for one in found.sources] == [15, 8, 7]
    assert sum(one.share for one in found.sources) == pytest.approx(1)
    run = service.tune("k", BASE, request)
    run.join(60)
    drawn = [step.source for step in run.steps]
    assert [drawn.count(one.source) for one in found.sources] == [15, 8, 7]
    assert dict(run.started.shares) == {one.source: one.share for one in found.sources}
    (mood,) = (one for one in found.tasks if one.task == "mood")
    assert (mood.rows, mood.epochs) == (8, found.sources[0].epochs)
    alone = service.preview("k", BASE, replace(request, replay=False)).mix
    assert [(one.source, one.share) for one in alone.sources] == [("your data", 1.0)]


def test_the_first_rows_are_shown_as_the_file_has_them(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "feedback.csv"
    path.write_text("id,Feedback,Mood\n7,lovely soup,good\n8,awful bill,bad\n9,fine,good\n", encoding="utf-8")
    columns = {"text": "Feedback", "label": "Mood"}
    request = TuneRequest(path=path, heads={"classification": "mood"}, columns=columns)
    found = service.preview("k", BASE, request).data
    assert found.columns == {"id": "", "Feedback": "text", "Mood": "mood"}
    assert found.raw[1] == {"id": "8", "Feedback": "awful bill", "Mood": "bad"}


def test_heads_that_are_replayed_do_not_drift(service: Service) -> None:
    request = TuneRequest(path=Path(), heads={"classification": "mood"}, freeze=FreezePolicy())
    plan = service.network("k", BASE, request)
    assert plan.warnings == ()
    assert [part.name for part in plan.parts if part.rehearsed] == ["head topic", "head entities"]
    (silent,) = service.network("k", BASE, replace(request, replay=False)).warnings
    assert silent.startswith("Heads topic, entities are neither trained nor rehearsed")


def test_two_cannot_measure_at_once_and_a_run_waits_for_a_measurement(service: Service, table: Path) -> None:
    with service.slot.borrowed():
        with pytest.raises(SessionError, match="A run trains at the moment"):
            service.measure("k", BASE, TuneRequest(path=table, **REQUEST))
        run = service.tune("k", BASE, TuneRequest(path=table, steps=3, **REQUEST))
        assert (run.state, run.ahead) == ("waiting", 1)
    run.join(60)
    assert run.state == "ended", run.error


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": {"classification": "text"}}, "cannot be called 'text'"),
        (
            {"balancing": Balancing(method="famo"), "freeze": FreezePolicy(encoder=True)},
            "joins gradients on the encoder",
        ),
        ({"heads": {}}, "No head is chosen"),
    ],
)
def test_what_a_run_would_refuse_is_said_before(service: Service, table: Path, changes, words: str) -> None:
    with pytest.raises(MtlError, match=words):
        service.preview("k", BASE, TuneRequest(**{"path": table, **REQUEST, **changes}))


def test_cells_of_any_kind_are_shown(service: Service, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a cat", "the law", "a dog"], "label": ["x", "y", "x"]})
    frame["made"] = pd.Timestamp("2026-01-02")
    frame["raw"] = [b"1", b"2", b"3"]
    frame.to_parquet(tmp_path / "rows.parquet")
    request = TuneRequest(path=tmp_path / "rows.parquet", heads={"classification": "mood"})
    assert "2026-01-02" in service.preview("k", BASE, request).data.raw[0]["made"]
