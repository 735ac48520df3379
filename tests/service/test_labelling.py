"""A table in and a table out, reasons for a label, and corrections that can be trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from mtl.data import tables
from mtl.errors import DataError, SessionError
from mtl.service import labelling
from mtl.service.labelling import spans_of_pieces
from mtl.service.models import BASE
from mtl.service.service import Service
from mtl.service.tuning import TuneRequest
from mtl.settings import Settings
from mtl.types import Span


@pytest.fixture
def service(predictor) -> Service:
    return Service(Settings(max_characters=100, max_points=40, max_steps=40, max_rows=30), base=predictor)


def test_a_table_comes_back_with_answers_and_errors_by_row(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    long = "x" * 101
    path.write_text(f"id,remark\n1,the cat is here\n2,\n3,{long}\n4,=SUM(A1)\n", encoding="utf-8")
    seen: list[float] = []
    found = service.labelling.batch("k", BASE, path, "remark", on_progress=seen.append)
    assert found.preview == ("remark", "topic", "entities", "error")
    assert found.columns == ("id", "remark", "topic", "topic_score", "entities", "truncated_at", "error")
    assert [row["error"] for row in found.rows] == [
        None,
        "has no text",
        "has 101 characters; the limit is 100",
        None,
    ]
    assert found.n_errors == 2
    assert seen == [1.0]
    (alone,) = service.models.base.analyze(["the cat is here"])
    assert found.rows[0]["topic"] == alone["topic"].label
    assert found.rows[0]["id"] == "1"
    assert found.rows[1]["topic"] is None
    written = found.write(".csv")
    assert written.name == "notes-labelled.csv"
    table = pd.read_csv(written)
    assert table["remark"].tolist()[3] == "'=SUM(A1)"
    assert [json.loads(line)["id"] for line in found.write(".jsonl").read_text().splitlines()] == list("1234")
    assert pd.read_parquet(found.write(".parquet"))["topic"].tolist()[0] == alone["topic"].label


def test_a_table_that_is_too_long_for_the_page_is_sent_to_the_command_line(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text\n" + "row\n" * 41, encoding="utf-8")
    with pytest.raises(DataError, match=r"has more than 40 rows.*python -m mtl"):
        service.labelling.batch("k", BASE, path)


def test_reasons_are_refused_for_what_the_model_does_not_have(service: Service) -> None:
    found = service.labelling.reasons("k", BASE, "the cat", "topic", "law")
    assert (found.label, len(found.words)) == ("law", 2)
    for task, label in (("entities", None), ("nope", None), ("topic", "nope")):
        with pytest.raises(SessionError, match="has no label"):
            service.labelling.reasons("k", BASE, "the cat", task, label)


def test_corrections_of_one_text_join_and_are_the_sessions_own(service: Service) -> None:
    assert service.labelling.correct("mine", BASE, "cats in Rome", {"topic": "law"}) == 1
    spans = (Span(8, 12, "LOC"),)
    assert service.labelling.correct("mine", BASE, "cats in Rome", {"entities": spans}) == 1
    assert service.labelling.correct("mine", BASE, "soup", {"topic": "food"}) == 2
    assert service.labelling.corrections("mine")[0].targets == {"topic": "law", "entities": spans}
    assert service.labelling.corrections("other") == ()
    path = service.labelling.corrections_table("mine", {"classification": "topic", "ner": "entities"})
    task_rows = tables.examples(tables.read(path), service.models.base.tasks[:2])
    assert [row.targets for row in task_rows] == [{"topic": "law", "entities": spans}, {"topic": "food"}]
    alone = tables.read(service.labelling.corrections_table("mine", {"ner": "entities"}))
    assert [row.values["text"] for row in alone.rows] == ["cats in Rome"], "one is enough"
    service.labelling.forget_corrections("mine")
    with pytest.raises(SessionError, match="no corrections for these heads"):
        service.labelling.corrections_table("mine", {"classification": "topic"})


def test_a_correction_that_no_head_knows_is_refused_and_nothing_is_kept(service: Service) -> None:
    for targets in ({"topic": "nope"}, {"entities": (Span(0, 1, "nope"),)}, {"mood": "law"}):
        with pytest.raises(SessionError, match="is no label of"):
            service.labelling.correct("k", BASE, "a", targets)
    assert service.labelling.corrections("k") == ()
    for place in range(30):
        service.labelling.correct("k", BASE, f"text {place}", {"topic": "law"})
    with pytest.raises(SessionError, match="30 corrected texts, which is the limit"):
        service.labelling.correct("k", BASE, "one more", {"topic": "law"})
    assert service.labelling.correct("k", BASE, "text 3", {"topic": "food"}) == 30


def test_corrections_can_be_trained_on(service: Service) -> None:
    for place in range(12):
        service.labelling.correct("k", BASE, f"{'cat' if place % 2 else 'dog'} {place}", {"topic": "law"})
        service.labelling.correct("k", BASE, f"x {place}", {"topic": "food"})
    path = service.labelling.corrections_table("k", {"classification": "topic"})
    run = service.tune("k", BASE, TuneRequest(path=path, heads={"classification": "topic"}, steps=5))
    run.join(60)
    assert run.state == "ended", run.error
    assert service.models.names("k") == [BASE, "tuned 1"]


def test_pieces_with_labels_are_spans_of_the_whole_text() -> None:
    pieces = [("In ", None), ("Rome ", "LOC"), ("and", None), (" Bonn", "LOC"), (" ", "LOC")]
    assert spans_of_pieces(pieces) == (Span(3, 7, "LOC"), Span(12, 16, "LOC"))


def test_columns_of_ones_own_stay_beside_ours_of_the_same_name(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    rows = [{"text": "a", "topic": "sports", "error": 7}, {"text": " ", "topic": "\ud83d"}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = service.labelling.batch("k", BASE, path)
    assert [row["topic (yours)"] for row in found.rows] == ["sports", "\ufffd"]
    assert found.rows[0]["topic"] in ("food", "law", "sport")
    assert found.rows[1]["topic"] is None
    assert [row["error (yours)"] for row in found.rows] == [7, None]
    assert [row["error"] for row in found.rows] == [None, "has no text"]
    assert found.write(".jsonl").stat().st_size > 0


def test_another_column_may_be_the_text_and_the_one_called_so_stays(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_text("title,text\nthe cat,body\n", encoding="utf-8")
    (row,) = service.labelling.batch("k", BASE, path, "title").rows
    assert (row["title"], row["text (yours)"]) == ("the cat", "body")


def test_numbers_stay_numbers_and_formulas_are_harmless_in_names_too(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "sums.csv"
    path.write_text("text,=1+1,loss\na,-3.5,-x\n", encoding="utf-8")
    header, line = service.labelling.batch("k", BASE, path).write(".csv").read_text().splitlines()
    assert header.startswith("text,'=1+1,loss")
    assert line.startswith("a,-3.5,'-x")


def test_all_sessions_together_keep_so_many_corrections(service: Service, monkeypatch) -> None:
    monkeypatch.setattr(labelling, "MOST_CHARACTERS", 25)
    service.labelling.correct("one", BASE, "x" * 20, {"topic": "law"})
    with pytest.raises(SessionError, match="which is the limit"):
        service.labelling.correct("two", BASE, "y" * 10, {"topic": "law"})
